/* SPDX-License-Identifier: Apache-2.0 */
/* test_nvml.c - the nvml source over the stand-in for NVIDIA's library, on a clock that both share */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <time.h>

#include "check.h"
#include "nvml.h"
#include "ring.h"
#include "source.h"

#define MS INT64_C(1000000)
#define START (100000 * MS)
#define WALL (INT64_C(1700000000) * 1000 * MS)

/* ---- The stand-in and its clock ------------------------------------------------------------- */

static struct {
	void *library;
	int64_t *now_ns;
	int64_t *offset_ns;
	void (*configure)(const char *words);
} stand_in;

static int64_t shared_now(const struct np_clock *clock, int id)
{
	(void)clock;
	return *stand_in.now_ns + (id == CLOCK_REALTIME ? *stand_in.offset_ns : 0);
}

static int shared_sleep(const struct np_clock *clock, int64_t deadline_ns)
{
	(void)clock;
	if (deadline_ns > *stand_in.now_ns)
		*stand_in.now_ns = deadline_ns;
	return 0;
}

static const struct np_clock shared_clock = { .now = shared_now, .sleep_until = shared_sleep };

static struct np_nvml *opened(const char *words)
{
	struct np_nvml *nvml;

	stand_in.configure(words);
	*stand_in.now_ns = START;
	*stand_in.offset_ns = WALL;
	CHECK_EQUAL(np_nvml_open(NVML_STAND_IN, &nvml), 0);
	return nvml;
}

static struct np_source *made(struct np_nvml *nvml, const struct np_nvml_channel *channels, uint32_t count)
{
	struct np_source *source;

	CHECK_EQUAL(np_source_nvml(nvml, channels, count, CLOCK_REALTIME, &source), 0);
	source->ops->start(source, *stand_in.now_ns);
	return source;
}

/* The tick at t, unless the one before lasted longer. */
static void tick(struct np_source *source, int64_t t_ns, struct np_reading *readings)
{
	memset(readings, 0, source->readings * sizeof(*readings));
	shared_sleep(NULL, t_ns);
	source->ops->read(source, &shared_clock, *stand_in.now_ns, readings);
}

/* The stand-in's energy, mJ: low 80 W, 120 W more in half of 77 ms, 100 W more in half of 7 s. */
static double true_mj(double t_ns)
{
	double fast = fmod(t_ns, 77e6);
	double slow = fmod(t_ns, 7e9);

	return 80 * t_ns * 1e-6 + 120 * 1e-6 * ((t_ns - fast) / 2 + fmin(fast, 38.5e6)) +
	       100 * 1e-6 * ((t_ns - slow) / 2 + fmin(slow, 3.5e9));
}

/* ---- Opening -------------------------------------------------------------------------------- */

static void test_a_library_that_is_absent_or_another_one_is_told_apart(void)
{
	struct np_nvml *nvml;

	CHECK_EQUAL(np_nvml_open(test_path("none.so"), &nvml), -NP_ENOLIBRARY);
	CHECK_EQUAL(np_nvml_open("libm.so.6", &nvml), -NP_ENOTNVML);
	CHECK(strstr(np_strerror(-NP_ENVML - 15), "lost"));
	CHECK(strstr(np_strerror(-NP_ENVML - 999), "NVML"));
	CHECK(strstr(np_strerror(-NP_ENVML - 5), "NVML"));
}

static void test_a_library_that_does_not_start_says_which_error(void)
{
	struct np_nvml *nvml;

	stand_in.configure("init=9");
	CHECK_EQUAL(np_nvml_open(NVML_STAND_IN, &nvml), -NP_ENVML - 9);
	stand_in.configure("count=4");
	CHECK_EQUAL(np_nvml_open(NVML_STAND_IN, &nvml), -NP_ENVML - 4);
}

static void test_gpus_say_what_they_are(void)
{
	struct np_nvml *nvml = opened("gpus=3 mig=1");
	struct np_nvml_conditions conditions;
	struct np_nvml_gpu gpu;

	CHECK_EQUAL(np_nvml_count(nvml), 3);
	CHECK(np_nvml_simulated(nvml));
	CHECK_EQUAL(np_nvml_gpu(nvml, 2, &gpu), 0);
	CHECK(!strcmp(gpu.name, "Simulated GPU") && !strcmp(gpu.uuid, "GPU-simulated-2") && gpu.mig && !gpu.slice);
	CHECK_EQUAL(np_nvml_gpu(nvml, 3, &gpu), -EINVAL);
	np_nvml_conditions(nvml, 1, &conditions);
	CHECK(conditions.sm_mhz == 1980 && conditions.memory_mhz == 3201 && conditions.temperature_c == 41);
	CHECK(conditions.limit_mw == 700000 && conditions.reasons == 0x44);
	stand_in.configure("gpus=3 conditions=4");
	np_nvml_conditions(nvml, 1, &conditions);
	CHECK(conditions.sm_mhz == -1 && conditions.limit_mw == -1 && conditions.reasons == -1);
	np_nvml_close(nvml);
}

/* ---- Readings ------------------------------------------------------------------------------- */

static void test_a_gpu_that_does_not_know_its_power_is_no_crash(void)
{
	struct np_nvml *nvml = opened("usage=3 average=3 instant=3 energy=3 samples=3");
	struct np_nvml_value value;

	for (int kind = NP_NVML_INSTANT; kind <= NP_NVML_SAMPLES; kind++)
		CHECK_EQUAL(np_nvml_read(nvml, 0, kind, &value), -NP_ENVML - NVML_NOT_SUPPORTED);
	CHECK_EQUAL(np_nvml_read(nvml, 0, NP_NVML_SAMPLES + 1, &value), -EINVAL);
	CHECK_EQUAL(np_nvml_read(nvml, 1, NP_NVML_INSTANT, &value), -EINVAL);
	np_nvml_close(nvml);
}

static void test_an_average_without_its_field_is_the_usage(void)
{
	struct np_nvml *nvml = opened("average=3");
	struct np_nvml_value value;

	CHECK_EQUAL(np_nvml_read(nvml, 0, NP_NVML_AVERAGE, &value), 0);
	CHECK(value.value > 80000000 && value.stamp_us == 0);
	np_nvml_close(nvml);
}

/* Fresh values of a channel in `seconds`; states must fit the stamps. */
static void count_fresh(struct np_source *source, int64_t period_ns, int64_t seconds, uint32_t *fresh)
{
	struct np_reading readings[RING_MAX_READINGS];
	int64_t last_ns[RING_MAX_READINGS] = { 0 };

	memset(fresh, 0, source->readings * sizeof(*fresh));
	for (int64_t t_ns = START; t_ns < START + seconds * 1000 * MS; t_ns += period_ns) {
		tick(source, t_ns, readings);
		for (uint32_t i = 0; i < source->readings; i++) {
			int64_t stamp_ns = *stand_in.now_ns - readings[i].scan;

			CHECK(readings[i].state != NP_MISSING);
			fresh[i] += readings[i].state == NP_FRESH;
			if (!(readings[i].flags & NP_STAMPED))
				continue;
			CHECK(readings[i].state != NP_FRESH || stamp_ns > last_ns[i]);
			last_ns[i] = stamp_ns;
		}
	}
}

static void test_fresh_values_are_those_of_the_driver(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 3, 1, 1 },
							   { 0, NP_NVML_INSTANT, 2, 1, 1 },
							   { 0, NP_NVML_AVERAGE, 2, 1, 1 } };
	struct np_nvml *nvml = opened("");
	struct np_source *source = made(nvml, channels, 3);
	uint32_t fresh[3];

	count_fresh(source, 16 * MS, 60, fresh);
	CHECK(fabs(fresh[0] / (60 / 0.021) - 1) < 0.01);
	CHECK(fabs(fresh[1] / (60 / 0.101) - 1) < 0.01);
	CHECK(fabs(fresh[2] / (60 / 0.101) - 1) < 0.01);
	np_source_close(source);
	np_nvml_close(nvml);
}

static void test_a_stamp_of_the_call_proves_nothing(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_AVERAGE, 1, 1, 0 } };
	struct np_nvml *nvml = opened("stamps=1 fast_mw=0 slow_mw=0");
	struct np_source *source = made(nvml, channels, 1);
	struct np_reading reading;

	for (int64_t i = 0; i < 100; i++) {
		tick(source, START + i * 16 * MS, &reading);
		CHECK(reading.state == NP_UNKNOWN && !(reading.flags & NP_STAMPED));
	}
	np_source_close(source);
	np_nvml_close(nvml);
}

static void test_stamps_are_mapped_to_the_clock_of_the_ticks(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 1, 1, 1 } };
	struct np_nvml *nvml = opened("samples_cost_us=0");
	struct np_source *source = made(nvml, channels, 1);
	struct np_reading reading;

	for (int64_t t_ns = START; t_ns < START + 5000 * MS; t_ns += 10 * MS) {
		double stamp_ns;

		tick(source, t_ns, &reading);
		CHECK(reading.flags == NP_STAMPED && reading.span <= 1);
		stamp_ns = (double)(t_ns - reading.scan);
		CHECK(reading.scan < 60 * MS);
		/* It is the mean of the 20 ms before the stamp, which counts in microseconds. */
		CHECK(fabs((double)reading.value * 1e-3 - (true_mj(stamp_ns) - true_mj(stamp_ns - 20e6)) / 0.020) < 20);
	}
	np_source_close(source);
	np_nvml_close(nvml);
}

/* Energy by the ring: each reading holds since the one before. */
static void test_the_ring_adds_up_to_the_energy(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 4, 1, 1 } };
	struct np_nvml *nvml = opened("");
	struct np_source *source = made(nvml, channels, 1);
	struct np_reading reading;
	double energy_mj = 0;
	double first_ns = 0;
	double last_ns = 0;

	for (int64_t t_ns = START; t_ns < START + 60000 * MS; t_ns += 16 * MS) {
		double stamp_ns;

		tick(source, t_ns, &reading);
		stamp_ns = (double)(*stand_in.now_ns - reading.scan);
		if (reading.state == NP_FRESH)
			energy_mj += (double)reading.value * 1e-3 * (stamp_ns - last_ns) * 1e-9;
		else if (reading.state == NP_UNKNOWN)
			first_ns = stamp_ns;
		last_ns = stamp_ns;
	}
	CHECK(fabs(energy_mj / (true_mj(last_ns) - true_mj(first_ns)) - 1) < 0.01);
	np_source_close(source);
	np_nvml_close(nvml);
}

/* The counter's ends are known to one tick, since it is looked at until it changes. */
static void test_the_counter_tells_the_energy_and_is_seldom_asked(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_ENERGY, 250, 1, 0 } };
	struct np_nvml *nvml = opened("");
	struct np_source *source = made(nvml, channels, 1);
	struct np_reading reading;
	double first_mj = -1, last_mj = 0;
	double first_ns = 0, last_ns = 0;
	bool before = false;
	int asked = 0;
	int ticks = 0;

	for (int64_t t_ns = START; t_ns < START + 64000 * MS; t_ns += 16 * MS, ticks++) {
		tick(source, t_ns, &reading);
		CHECK(reading.state != NP_MISSING);
		asked += !(reading.flags & NP_HELD);
		/* Fresh right behind another look: renewed between the two. */
		if (reading.state == NP_FRESH && before) {
			last_mj = (double)reading.value * 1e-3;
			last_ns = (double)t_ns;
			if (first_mj < 0) {
				first_mj = last_mj;
				first_ns = last_ns;
			}
		}
		before = !(reading.flags & NP_HELD);
	}
	CHECK(asked < ticks / 30);
	CHECK(last_ns - first_ns > 55e9);
	CHECK(fabs((last_mj - first_mj) / (true_mj(last_ns) - true_mj(first_ns)) - 1) < 0.001);
	np_source_close(source);
	np_nvml_close(nvml);
}

static void test_a_counter_that_stands_still_is_left_alone(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_ENERGY, 200, 2, 0 } };
	struct np_nvml *nvml = opened("low_mw=0 fast_mw=0 slow_mw=0");
	struct np_source *source = made(nvml, channels, 1);
	struct np_reading reading;
	int asked = 0;

	for (int64_t i = 0; i < 1000; i++) {
		tick(source, START + i * 16 * MS, &reading);
		CHECK(i == 0 || reading.state == NP_REPEATED);
		asked += !(reading.flags & NP_HELD);
	}
	CHECK(asked >= 64 && asked <= 80); /* sixteen looks in each turn of 230 ticks */
	np_source_close(source);
	np_nvml_close(nvml);
}

/* ---- Faults --------------------------------------------------------------------------------- */

static void test_a_lost_gpu_is_missing_and_comes_back(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 1, 1, 1 },
							   { 0, NP_NVML_INSTANT, 1, 1, 1 },
							   { 0, NP_NVML_ENERGY, 200, 1, 0 },
							   { 1, NP_NVML_AVERAGE, 1, 1, 1 } };
	struct np_nvml *nvml = opened("gpus=2");
	struct np_source *source = made(nvml, channels, 4);
	struct np_reading readings[4];
	uint64_t xid;
	uint32_t gpu;

	tick(source, START, readings);
	CHECK_EQUAL(np_nvml_xid(nvml, &gpu, &xid), 0);
	stand_in.configure("gpus=2 lost_after_ms=0");
	for (int64_t i = 1; i < 5; i++) {
		tick(source, START + i * 16 * MS, readings);
		for (uint32_t j = 0; j < 3; j++)
			CHECK(readings[j].state == NP_MISSING && readings[j].error == ENODEV);
		CHECK(readings[3].state != NP_MISSING);
	}
	CHECK_EQUAL(np_nvml_xid(nvml, &gpu, &xid), 1);
	CHECK(gpu == 0 && xid == 79);
	CHECK_EQUAL(np_nvml_xid(nvml, &gpu, &xid), 0);
	CHECK_EQUAL(source->ops->revive(source), 0);
	stand_in.configure("gpus=2");
	CHECK_EQUAL(source->ops->revive(source), 1);
	for (int64_t i = 5; i < 50; i++)
		tick(source, START + i * 16 * MS, readings);
	for (uint32_t j = 0; j < 4; j++)
		CHECK(readings[j].state != NP_MISSING);
	np_source_close(source);
	np_nvml_close(nvml);
}

static void test_each_refusal_has_its_errno(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 1, 1, 1 },
							   { 0, NP_NVML_INSTANT, 1, 1, 1 },
							   { 0, NP_NVML_AVERAGE, 1, 1, 1 },
							   { 0, NP_NVML_ENERGY, 1, 1, 0 } };
	struct np_nvml *nvml = opened("");
	struct np_source *source = made(nvml, channels, 4);
	struct np_reading readings[4];

	stand_in.configure("samples=4 instant=3 average=10 energy=999");
	tick(source, START, readings);
	CHECK(readings[0].state == NP_MISSING && readings[0].error == EACCES);
	CHECK(readings[1].state == NP_MISSING && readings[1].error == EOPNOTSUPP);
	CHECK(readings[2].state == NP_MISSING && readings[2].error == ETIMEDOUT);
	CHECK(readings[3].state == NP_MISSING && readings[3].error == EIO);
	np_source_close(source);
	np_nvml_close(nvml);
}

/* No stamp is told that belongs to the clock before it was set, in either direction. */
static void test_a_clock_that_is_set_makes_no_wrong_stamp(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 1, 1, 1 },
							   { 0, NP_NVML_INSTANT, 1, 1, 1 } };

	for (int64_t step_ms = -3600000; step_ms <= 3600000; step_ms += 1199600) {
		struct np_nvml *nvml = opened("samples_cost_us=0 fields_cost_us=0");
		struct np_source *source = made(nvml, channels, 2);
		struct np_reading readings[2];
		int told = 0;

		for (int64_t i = 0; i < 1000; i++) {
			if (i == 100)
				*stand_in.offset_ns += step_ms * MS;
			tick(source, START + i * 16 * MS, readings);
			for (uint32_t j = 0; j < 2; j++) {
				CHECK(!(readings[j].flags & NP_STAMPED) || readings[j].scan < (uint32_t)(150 * MS));
				told += i > 500 && readings[j].flags & NP_STAMPED && readings[j].state == NP_FRESH;
			}
			CHECK(i < 100 || i > 410 || (readings[0].state == NP_MISSING && readings[0].error == ESTALE));
		}
		CHECK(told > 400);
		np_source_close(source);
		np_nvml_close(nvml);
	}
}

static void test_a_loop_that_was_held_up_loses_no_reading_of_the_ring(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 1, 1, 1 } };
	struct np_nvml *nvml = opened("");
	struct np_source *source = made(nvml, channels, 1);
	struct np_reading reading;
	int fresh = 0;

	for (int64_t t_ns = START; t_ns < START + 20000 * MS; t_ns += t_ns == START + 1600 * MS ? 2000 * MS : 16 * MS) {
		tick(source, t_ns, &reading);
		fresh += reading.state == NP_FRESH;
	}
	CHECK(fabs(fresh / (20 / 0.021) - 1) < 0.01);
	np_source_close(source);
	np_nvml_close(nvml);
}

static void test_what_cannot_be_is_refused(void)
{
	struct np_nvml *nvml = opened("");
	struct np_source *source;
	const struct np_nvml_channel good = { 0, NP_NVML_INSTANT, 1, 1, 1 };
	const struct np_nvml_channel bad[] = { { 1, NP_NVML_INSTANT, 1, 1, 1 }, { 0, 4, 1, 1, 1 }, { 0, -1, 1, 1, 1 },
					       { 0, NP_NVML_INSTANT, 0, 1, 1 }, { 0, NP_NVML_INSTANT, 65536, 1, 1 },
					       { 0, NP_NVML_ENERGY, 1, 0, 1 } };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQUAL(np_source_nvml(nvml, &bad[i], 1, -1, &source), -EINVAL);
	CHECK_EQUAL(np_source_nvml(nvml, &good, 0, -1, &source), -EINVAL);
	CHECK_EQUAL(np_source_nvml(nvml, &good, 1, 77, &source), -EINVAL);
	CHECK_EQUAL(np_source_nvml(NULL, &good, 1, -1, &source), -EINVAL);
	/* The source holds the library. */
	CHECK_EQUAL(np_source_nvml(nvml, &good, 1, -1, &source), 0);
	np_nvml_close(nvml);
	np_source_close(source);
}

/* ---- Threads -------------------------------------------------------------------------------- */

static void *housekeeping(void *arg)
{
	struct np_nvml *nvml = arg;
	struct np_nvml_conditions conditions;
	uint64_t xid;
	uint32_t gpu;

	for (int i = 0; i < 2000; i++) {
		np_nvml_conditions(nvml, 0, &conditions);
		np_nvml_xid(nvml, &gpu, &xid);
		nvml_revive(nvml);
	}
	return NULL;
}

static void test_conditions_are_read_beside_the_loop(void)
{
	static const struct np_nvml_channel channels[] = { { 0, NP_NVML_SAMPLES, 1, 1, 1 },
							   { 0, NP_NVML_INSTANT, 1, 1, 1 } };
	struct np_nvml *nvml = opened("");
	struct np_source *source = made(nvml, channels, 2);
	struct np_reading readings[2];
	pthread_t thread;

	stand_in.configure("lost_after_ms=0");
	CHECK_EQUAL(pthread_create(&thread, NULL, housekeeping, nvml), 0);
	for (int64_t i = 0; i < 2000; i++)
		source->ops->read(source, &shared_clock, START, readings);
	pthread_join(thread, NULL);
	np_source_close(source);
	np_nvml_close(nvml);
}

int main(void)
{
	stand_in.library = dlopen(NVML_STAND_IN, RTLD_NOW | RTLD_LOCAL);
	CHECK(stand_in.library);
	stand_in.now_ns = dlsym(stand_in.library, "np_stand_in_now_ns");
	stand_in.offset_ns = dlsym(stand_in.library, "np_stand_in_offset_ns");
	*(void **)&stand_in.configure = dlsym(stand_in.library, "np_stand_in_configure");
	CHECK(stand_in.now_ns && stand_in.offset_ns && stand_in.configure);
	*stand_in.now_ns = START;
	test_a_library_that_is_absent_or_another_one_is_told_apart();
	test_a_library_that_does_not_start_says_which_error();
	test_gpus_say_what_they_are();
	test_a_gpu_that_does_not_know_its_power_is_no_crash();
	test_an_average_without_its_field_is_the_usage();
	test_fresh_values_are_those_of_the_driver();
	test_a_stamp_of_the_call_proves_nothing();
	test_stamps_are_mapped_to_the_clock_of_the_ticks();
	test_the_ring_adds_up_to_the_energy();
	test_the_counter_tells_the_energy_and_is_seldom_asked();
	test_a_counter_that_stands_still_is_left_alone();
	test_a_lost_gpu_is_missing_and_comes_back();
	test_each_refusal_has_its_errno();
	test_a_clock_that_is_set_makes_no_wrong_stamp();
	test_a_loop_that_was_held_up_loses_no_reading_of_the_ring();
	test_what_cannot_be_is_refused();
	test_conditions_are_read_beside_the_loop();
	dlclose(stand_in.library);
	puts("test_nvml: ok");
	return 0;
}
