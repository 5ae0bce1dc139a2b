/* SPDX-License-Identifier: Apache-2.0 */
/*
 * nvml.c - a stand-in for libnvidia-ml.so.1: GPUs of a known power, without a GPU
 *
 * What it answers is simulated, and it says so: the name of its GPUs does, and the symbol neuralpower_simulated is
 * what the source goes by. Power is a sum of two square waves on CLOCK_MONOTONIC, so its energy is known in closed form
 * (tests/worlds/gpu/nvml_stand_in.py has the same sum). How the readings come about follows what was measured on one H200 with
 * driver 580: a mean over 1 s and one over 27 ms, both new each 100 ms, which the calls return with a time stamp; a counter in
 * mJ that is new each 100 ms and takes 2.9 ms to read; a ring of 119 readings some 21 ms apart. What was not
 * measured there is assumed: the ring's readings are means over 20 ms, asking for them takes 100 us, time stamps are those of
 * the renewal.
 *
 * The environment variable NVML_STAND_IN changes it: words "key=number", see `settings`. Tests in C also set the
 * clock (np_stand_in_now_ns) and call np_stand_in_configure(). NVML_STAND_IN_WORK names a file of `struct work`: what GPU 0
 * draws besides, from one moment to the next, which whoever plays the GPU appends to (tests/worlds/gpu/gpu_stand_in.py).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, GPU_IS_LOST = 15 };
enum { TIMEOUT = 10 };
enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3 };
enum { FIELD_ENERGY = 83, FIELD_AVERAGE = 185, FIELD_INSTANT = 186 };
enum { MOST_GPUS = 16 };

typedef union {
	double d;
	unsigned int ui;
	unsigned long ul;
	unsigned long long ull;
} value;

typedef struct {
	unsigned int field_id;
	unsigned int scope_id;
	long long timestamp;
	long long latency_us;
	int value_type;
	int status;
	value value;
} field_value;

typedef struct {
	unsigned long long timestamp;
	value value;
} sample;

typedef struct {
	void *device;
	unsigned long long type;
	unsigned long long data;
	unsigned int gpu_instance;
	unsigned int compute_instance;
} event_data;

/* With UNSIGNED nothing in it says that it is none: what a real library's readings are taken for can then be tried. */
#ifndef UNSIGNED
EXPORT const int neuralpower_simulated = 1;
#define MARK(plain, simulated) simulated
#else
#define MARK(plain, simulated) plain
#endif
/* Another clock than the system's, if not 0; what calls cost moves it on. */
EXPORT int64_t np_stand_in_now_ns;
/* CLOCK_REALTIME - CLOCK_MONOTONIC of that clock. */
EXPORT int64_t np_stand_in_offset_ns;

/* ---- Settings ------------------------------------------------------------------------------- */

static struct {
	int64_t gpus;
	int64_t low_mw, fast_mw, fast_us, slow_mw, slow_ms;	/* power: low, + fast and + slow in the first half of each wave */
	int64_t more_mw;					/* each GPU draws so much more than the one before */
	int64_t renew_us, renew_jitter_us;			/* of fields and counter */
	int64_t sample_us, sample_jitter_us, sample_window_us, depth;	/* of the ring */
	int64_t average_us, instant_us;				/* windows */
	int64_t usage_cost_us, fields_cost_us, energy_cost_us, samples_cost_us;
	int64_t stamps;			/* of fields: 0 when renewed, 1 when read, 2 none */
	int64_t lost_after_ms;		/* GPU 0 is lost so long after nvmlInit; -1: never */
	int64_t mig, slice;		/* MIG is on; the GPU seen is a slice */
	/* nvmlReturn_t of each call; 0: it works */
	int64_t init, count, handle, usage, average, instant, energy, samples, conditions, events;
} set;

static int by_hand; /* a test in C has configured it: the environment says nothing */

#define KEY(name, normal) { #name, &set.name, normal }

static const struct {
	const char *name;
	int64_t *where;
	int64_t normal;
} settings[] = {
	KEY(gpus, 1), KEY(low_mw, 80000), KEY(fast_mw, 120000), KEY(fast_us, 77000), KEY(slow_mw, 100000),
	KEY(slow_ms, 7000), KEY(more_mw, 10000), KEY(renew_us, 101000), KEY(renew_jitter_us, 2000), KEY(sample_us, 21000),
	KEY(sample_jitter_us, 5000), KEY(sample_window_us, 20000), KEY(depth, 119), KEY(average_us, 1000000),
	KEY(instant_us, 27000), KEY(usage_cost_us, 6), KEY(fields_cost_us, 22), KEY(energy_cost_us, 2900),
	KEY(samples_cost_us, 100), KEY(stamps, 0), KEY(lost_after_ms, -1), KEY(mig, 0), KEY(slice, 0), KEY(init, 0),
	KEY(count, 0), KEY(handle, 0), KEY(usage, 0), KEY(average, 0), KEY(instant, 0), KEY(energy, 0), KEY(samples, 0),
	KEY(conditions, 0), KEY(events, 0),
};

static void configure(const char *words)
{
	char copy[1024];
	char *rest = copy;
	const char *word;

	for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
		*settings[i].where = settings[i].normal;
	snprintf(copy, sizeof(copy), "%s", words ? words : "");
	while ((word = strsep(&rest, " "))) {
		const char *equals = strchr(word, '=');
		size_t found = 0;

		if (!equals)
			continue;
		for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
			if (strlen(settings[i].name) == (size_t)(equals - word) &&
			    !strncmp(settings[i].name, word, (size_t)(equals - word))) {
				*settings[i].where = strtoll(equals + 1, NULL, 10);
				found = 1;
			}
		}
		if (!found) {
			fprintf(stderr, "NVML_STAND_IN: unknown word %s\n", word);
			abort();
		}
	}
}

EXPORT void np_stand_in_configure(const char *words)
{
	by_hand = 1;
	configure(words);
}

/* ---- Time ----------------------------------------------------------------------------------- */

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	if (np_stand_in_now_ns)
		return np_stand_in_now_ns + (id == CLOCK_REALTIME ? np_stand_in_offset_ns : 0);
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int64_t now_ns(void)
{
	return clock_ns(CLOCK_MONOTONIC);
}

static int64_t wall_ns;	/* CLOCK_REALTIME - CLOCK_MONOTONIC when the library was started: a value keeps its stamp */

/* CLOCK_REALTIME of a moment of CLOCK_MONOTONIC, us. */
static long long stamp_us(int64_t t_ns)
{
	return (t_ns + (np_stand_in_now_ns ? np_stand_in_offset_ns : wall_ns)) / 1000;
}

/* A call takes its time on the processor: the worst case for whoever pays for it. */
static void spend(int64_t us)
{
	int64_t until;

	if (np_stand_in_now_ns) {
		np_stand_in_now_ns += us * 1000;
		return;
	}
	until = clock_ns(CLOCK_THREAD_CPUTIME_ID) + us * 1000;
	while (us && clock_ns(CLOCK_THREAD_CPUTIME_ID) < until)
		;
}

/* Moment number k of a grid whose steps vary: k * step + something in +- jitter. */
static int64_t moment_ns(int64_t k, int64_t step_us, int64_t jitter_us)
{
	uint64_t x = (uint64_t)k + UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	x ^= x >> 31;
	return k * step_us * 1000 + (int64_t)(x % (uint64_t)(2 * jitter_us * 1000 + 1)) - jitter_us * 1000;
}

/* The last moment of the grid that is not after t. */
static int64_t last_moment(int64_t t_ns, int64_t step_us, int64_t jitter_us)
{
	int64_t k = t_ns / (step_us * 1000) + 1;

	while (moment_ns(k, step_us, jitter_us) > t_ns)
		k--;
	return k;
}

/* ---- Power ---------------------------------------------------------------------------------- */

/* Time spent in the first halves of a square wave up to t, s. */
static double high_s(int64_t t_ns, int64_t wave_ns)
{
	int64_t rest = t_ns % wave_ns;

	return (double)(t_ns / wave_ns) * (double)(wave_ns / 2) * 1e-9 + (double)(rest < wave_ns / 2 ? rest : wave_ns / 2) * 1e-9;
}

/* From t_ns on the GPU draws mw more; up to there its work had drawn mj. */
struct work {
	int64_t t_ns;
	double mj;
	double mw;
};

/* Address space for a file that grows; what lies behind its end is never touched. */
#define WORK_BYTES (INT64_C(1) << 32)

static int work_fd = -1;
static const struct work *work;

static void open_work(const char *path)
{
	void *mapped;

	if (!path || work)
		return;
	work_fd = open(path, O_RDONLY | O_CLOEXEC);
	mapped = work_fd < 0 ? MAP_FAILED : mmap(NULL, (size_t)WORK_BYTES, PROT_READ, MAP_SHARED | MAP_NORESERVE, work_fd, 0);
	if (mapped == MAP_FAILED) {
		perror(path);
		abort();
	}
	work = mapped;
}

static double work_mj(int64_t t_ns)
{
	struct stat file;
	int64_t low = 0;
	int64_t high;

	if (!work || fstat(work_fd, &file))
		return 0;
	high = (int64_t)((size_t)file.st_size / sizeof(*work));
	while (low < high) { /* to the first that begins after t */
		int64_t middle = low + (high - low) / 2;

		if (work[middle].t_ns > t_ns)
			high = middle;
		else
			low = middle + 1;
	}
	return low ? work[low - 1].mj + work[low - 1].mw * (double)(t_ns - work[low - 1].t_ns) * 1e-9 : 0;
}

static double energy_mj(int64_t gpu, int64_t t_ns)
{
	return (gpu ? 0 : work_mj(t_ns)) + (double)(set.low_mw + gpu * set.more_mw) * (double)t_ns * 1e-9 +
	       (double)set.fast_mw * high_s(t_ns, set.fast_us * 1000) + (double)set.slow_mw * high_s(t_ns, set.slow_ms * 1000000);
}

/* Mean power of a window that ends at t, mW. */
static unsigned int mean_mw(int64_t gpu, int64_t t_ns, int64_t window_us)
{
	double energy = energy_mj(gpu, t_ns) - energy_mj(gpu, t_ns - window_us * 1000);

	return (unsigned int)lround(energy / ((double)window_us * 1e-6));
}

static int64_t renewed_ns(void)
{
	return moment_ns(last_moment(now_ns(), set.renew_us, set.renew_jitter_us), set.renew_us, set.renew_jitter_us);
}

/* ---- Library -------------------------------------------------------------------------------- */

static int64_t began_ns;
static int xid_told;
static char gpus[MOST_GPUS];

static int lost(const void *device)
{
	return device == &gpus[0] && set.lost_after_ms >= 0 && now_ns() - began_ns >= set.lost_after_ms * 1000000;
}

/* What a call on a device returns: `status`, unless there is no such device any more. */
static int answer(const void *device, int64_t status)
{
	if ((const char *)device < gpus || (const char *)device >= gpus + MOST_GPUS)
		return INVALID_ARGUMENT;
	return lost(device) ? GPU_IS_LOST : (int)status;
}

static int64_t index_of(const void *device)
{
	return (const char *)device - gpus;
}

EXPORT int nvmlInit_v2(void)
{
	if (!by_hand)
		configure(getenv("NVML_STAND_IN"));
	open_work(getenv("NVML_STAND_IN_WORK"));
	began_ns = now_ns();
	wall_ns = clock_ns(CLOCK_REALTIME) - began_ns;
	xid_told = 0;
	return (int)set.init;
}

EXPORT int nvmlShutdown(void)
{
	return SUCCESS;
}

EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned int length)
{
	snprintf(text, length, MARK("580.0", "580.0 (simulated)"));
	return SUCCESS;
}

EXPORT int nvmlDeviceGetCount_v2(unsigned int *count)
{
	*count = (unsigned int)set.gpus;
	return (int)set.count;
}

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
	if (index >= (unsigned int)set.gpus || index >= MOST_GPUS)
		return INVALID_ARGUMENT;
	*device = &gpus[index];
	return answer(*device, set.handle);
}

EXPORT int nvmlDeviceGetName(void *device, char *text, unsigned int length)
{
	snprintf(text, length, MARK("Some GPU", "Simulated GPU"));
	return answer(device, SUCCESS);
}

EXPORT int nvmlDeviceGetUUID(void *device, char *text, unsigned int length)
{
	snprintf(text, length, MARK("GPU-0000-%d", "GPU-simulated-%d"), (int)index_of(device));
	return answer(device, SUCCESS);
}

EXPORT int nvmlDeviceGetMigMode(void *device, unsigned int *now, unsigned int *pending)
{
	*now = *pending = (unsigned int)set.mig;
	return answer(device, SUCCESS);
}

EXPORT int nvmlDeviceIsMigDeviceHandle(void *device, unsigned int *slice)
{
	*slice = (unsigned int)set.slice;
	return answer(device, SUCCESS);
}

/* ---- Readings ------------------------------------------------------------------------------- */

EXPORT int nvmlDeviceGetPowerUsage(void *device, unsigned int *mw)
{
	spend(set.usage_cost_us);
	*mw = mean_mw(index_of(device), renewed_ns(), set.average_us);
	return answer(device, set.usage);
}

static void fill(const void *device, field_value *field)
{
	int64_t at_ns = renewed_ns();

	field->timestamp = set.stamps == 2 ? 0 : stamp_us(set.stamps ? now_ns() : at_ns);
	field->latency_us = set.fields_cost_us;
	field->value_type = TYPE_UNSIGNED_INT;
	field->status = NOT_SUPPORTED;
	if (field->field_id == FIELD_AVERAGE) {
		field->status = (int)set.average;
		field->value.ui = mean_mw(index_of(device), at_ns, set.average_us);
	} else if (field->field_id == FIELD_INSTANT) {
		field->status = (int)set.instant;
		field->value.ui = mean_mw(index_of(device), at_ns, set.instant_us);
	}
}

EXPORT int nvmlDeviceGetFieldValues(void *device, int count, field_value *fields)
{
	spend(set.fields_cost_us);
	for (int i = 0; i < count; i++)
		fill(device, &fields[i]);
	return answer(device, SUCCESS);
}

EXPORT int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj)
{
	*mj = (unsigned long long)energy_mj(index_of(device), renewed_ns());
	spend(set.energy_cost_us);
	return answer(device, set.energy);
}

EXPORT int nvmlDeviceGetSamples(void *device, int type, unsigned long long since_us, int *value_type, unsigned int *count,
				sample *samples)
{
	int64_t newest = last_moment(now_ns(), set.sample_us, set.sample_jitter_us);
	int status = type ? NOT_SUPPORTED : answer(device, set.samples);
	unsigned int got = 0;

	spend(set.samples_cost_us);
	if (status)
		return status;
	*value_type = TYPE_UNSIGNED_INT;
	for (int64_t k = newest - set.depth + 1; k <= newest; k++) {
		int64_t t_ns = moment_ns(k, set.sample_us, set.sample_jitter_us);
		unsigned long long stamp = (unsigned long long)stamp_us(t_ns);

		if (stamp <= since_us)
			continue;
		if (samples && got == *count)
			return INSUFFICIENT_SIZE;
		if (samples) {
			samples[got].timestamp = stamp;
			samples[got].value.ui = mean_mw(index_of(device), t_ns, set.sample_window_us);
		}
		got++;
	}
	*count = got;
	return got ? SUCCESS : NOT_FOUND;
}

/* ---- Conditions ----------------------------------------------------------------------------- */

EXPORT int nvmlDeviceGetClockInfo(void *device, int type, unsigned int *mhz)
{
	*mhz = type == 2 ? 3201 : 1980;
	return answer(device, set.conditions);
}

EXPORT int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius)
{
	*celsius = 41;
	return sensor ? NOT_SUPPORTED : answer(device, set.conditions);
}

EXPORT int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
	*reasons = 0x4 | 0x40; /* power cap by software, temperature by hardware */
	return answer(device, set.conditions);
}

EXPORT int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned int *mw)
{
	*mw = 700000;
	return answer(device, set.conditions);
}

EXPORT int nvmlEventSetCreate(void **events)
{
	*events = &xid_told;
	return (int)set.events;
}

EXPORT int nvmlEventSetFree(void *events)
{
	return events == &xid_told ? SUCCESS : INVALID_ARGUMENT;
}

EXPORT int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *events)
{
	(void)types;
	return events == &xid_told ? answer(device, SUCCESS) : INVALID_ARGUMENT;
}

EXPORT int nvmlEventSetWait_v2(void *events, event_data *data, unsigned int timeout_ms)
{
	(void)events;
	(void)timeout_ms;
	if (!lost(&gpus[0]) || xid_told)
		return TIMEOUT;
	xid_told = 1;
	*data = (event_data){ .device = &gpus[0], .type = 8, .data = 79 };
	return SUCCESS;
}
