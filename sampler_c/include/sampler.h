/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sampler.h - read a board's power rails on time, and keep what was read.
 *
 * A sampler is three things put together by its caller:
 *
 *   source   where readings come from: sysfs files, a chip in software, a recording
 *   loop     a thread that reads the source at absolute deadlines
 *   ring     a shared-memory file that holds the newest ticks (docs/ring.md has its bytes)
 *
 * Ownership. Every np_*_create / np_*_open / np_source_* call hands the caller an instance that he
 * gives back with the matching close or destroy, once. A running sampler borrows its ring and its
 * source: closing either one before np_sampler_stop() gives -EBUSY. A sampler holds both from create to
 * destroy: one that is closed meanwhile is freed with the sampler, which can be asked for its statistics all
 * its life, and gives -EBADF where it is to start again. (A ring's file is let go at once, a source's files
 * with the source.) A simulated source owns the timeline it was given. NULL may be passed to any close or
 * destroy and does nothing.
 *
 * Threads. An instance belongs to one caller thread at a time, except: np_ring_info, np_ring_read and
 * np_ring_epoch may be called from any number of threads (and, on their own mappings, processes)
 * beside the writer; np_sampler_stats, np_sampler_lateness and np_sampler_errors may be called from any
 * thread between create and destroy, np_source_revive until the source is closed. After fork() only the
 * parent may use them.
 *
 * Errors. Functions that can fail return 0 or a negative number: a negated errno, or a negated
 * NP_E... from the list below. np_strerror() has the words for both.
 *
 * Times are nanoseconds of CLOCK_MONOTONIC unless a name says otherwise.
 */
#ifndef NEURALPOWER_SAMPLER_H
#define NEURALPOWER_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

/* cffi begin */

/* ---- Errors --------------------------------------------------------------------------------- */

/* Our own, above any errno; np_strerror() has their words. */
enum np_error {
	NP_ENOTRING = 1001,
	NP_EVERSION = 1002,
	NP_ETRUNCATED = 1003,
	NP_EHELD = 1004,
	NP_ENOTTIMELINE = 1005,
	NP_EFORKED = 1006,
	NP_ECPU = 1007,
	NP_ENOLIBRARY = 1008,
	NP_ENOTNVML = 1009,
	NP_ENVML = 2000		/* NP_ENVML + n: NVML answered with its nvmlReturn_t n */
};

/* ---- Readings ------------------------------------------------------------------------------- */

enum np_state {
	NP_UNKNOWN = 0,		/* value valid; whether it is newer than the one before cannot be known */
	NP_FRESH = 1,		/* value valid and certainly newer */
	NP_REPEATED = 2,	/* value valid and certainly the one before */
	NP_MISSING = 3		/* no value; error says why */
};

enum np_flag {
	NP_MIXED = 1,		/* voltage and current of this rail may come from different scans */
	NP_SCAN = 2,		/* scan and span are known */
	NP_HELD = 4,		/* not read in this tick: what the last tick had that read it */
	NP_STAMPED = 8		/* scan and span tell the driver's own time stamp; never with NP_SCAN */
};

struct np_reading {
	int64_t value;		/* in the unit of its channel: uV, uA, uW, uJ */
	uint32_t begin_ns;	/* the read lay between these two, from the tick's t_ns, saturating */
	uint32_t end_ns;
	uint8_t state;		/* enum np_state */
	uint8_t error;		/* errno when missing, else 0 */
	uint8_t flags;		/* enum np_flag */
	uint8_t span;		/* with NP_SCAN: the value is from a scan in [scan - span, scan] */
	uint32_t scan;		/* with NP_STAMPED: the stamp lies scan ns before the tick's t_ns, to span us, both saturating */
};

/* Words for 0, a negated errno or a negated NP_E...; never NULL, not to be freed, good until this thread asks again. */
const char *np_strerror(int err);

/* ---- Clocks --------------------------------------------------------------------------------- */

struct np_clocks {
	int64_t monotonic_ns;	/* the middle of the bracket */
	int64_t boottime_ns;
	int64_t realtime_ns;
	int64_t bracket_ns;	/* width: the three agree to within it */
};

/* Read the three clocks together into *out, the caller's: the narrowest bracket of a few tries. Always 0. */
int np_clocks(struct np_clocks *out);

/* ---- Ring: lifecycle ------------------------------------------------------------------------ */

struct np_ring;

struct np_ring_info {
	uint8_t stream[16];
	uint8_t previous[16];	/* all zero: no stream before this one */
	uint64_t capacity;	/* ticks */
	uint64_t next_index;	/* of the tick that will be written next */
	uint64_t oldest;	/* the oldest index that can still be read */
	int64_t period_ns;
	int64_t t0_ns;		/* origin of the slot grid; slot n is due at t0 + n * period */
	uint32_t readings;	/* per tick */
	uint32_t next_epoch;
	int32_t resumed;	/* writer only: goes on in a stream that was there */
};

/*
 * Open the ring as its only writer. The lock on PATH.lock comes before anything else: -NP_EHELD when
 * another process has it. A ring of this boot, with this many readings and one to four times this capacity, is
 * resumed at its next index, on its grid when the period is the same. Anything else that was once a
 * ring is replaced by a new stream; a file that never was one is left alone (-NP_ENOTRING). -EINVAL: not 1 to
 * 64 readings, a period outside 1 ns to a day, or room for fewer than two ticks.
 *
 * *out is the caller's, with the lock, until np_ring_close(); it is untouched on an error. The path is not kept.
 */
int np_ring_create(const char *path, uint32_t readings, int64_t period_ns, uint64_t capacity,
		   struct np_ring **out);

/*
 * Open the ring as a reader: mapped read-only, nothing locked. *out is the caller's until np_ring_close(), untouched
 * on an error. A writer that replaces the file leaves this mapping as it was: the stream that ended.
 */
int np_ring_open(const char *path, struct np_ring **out);

/*
 * Give a ring back: the mapping and the lock go at once, and no call may be given it any more. The file stays.
 * -EBUSY while a sampler writes into it; it is the caller's still.
 */
int np_ring_close(struct np_ring *ring);

/* ---- Ring: writer's calls (-EBADF on a reader, -EBUSY while a sampler runs) ------------------- */

/* A changed period (1 ns to a day, or -EINVAL) sets a new grid origin at the present; an unchanged one keeps the grid. */
int np_ring_set_period(struct np_ring *ring, int64_t period_ns);

/*
 * Enter a document of at most 8192 bytes (-EMSGSIZE) in the epoch table; its number is stored in *number. The bytes are
 * copied. The table keeps the newest: np_ring_epoch() says which are gone.
 */
int np_ring_begin_epoch(struct np_ring *ring, const uint8_t *document, uint32_t length, uint32_t *number);

/* Write one tick; its readings are copied. The loop does this itself; the call is for tests and importers. */
int np_ring_append(struct np_ring *ring, uint64_t slot, int64_t t_ns, uint32_t epoch,
		   const struct np_reading *readings);

/* ---- Ring: anyone's calls ------------------------------------------------------------------- */

/* What the ring is and how far it is, at this moment, copied into *out. */
void np_ring_info(const struct np_ring *ring, struct np_ring_info *out);

/*
 * Copy up to max ticks from index first on into out (the caller's, max * (5 + 3 * readings) words). Returns how many,
 * contiguous from *got_first; *lost ticks between first and *got_first were overwritten. A first beyond
 * the next index gives 0 ticks; a max that no int64_t holds -EINVAL. Never returns a torn tick, never waits.
 */
int64_t np_ring_read(const struct np_ring *ring, uint64_t first, uint64_t max, uint64_t *out,
		     uint64_t *got_first, uint64_t *lost);

/*
 * Copy epoch number's document (room for 8192 bytes, the caller's), its length, and the index of its first tick.
 * -ENOENT: never written, or pushed out by a newer one; *first_index and *length are then as they were, the document
 * may hold anything.
 */
int np_ring_epoch(const struct np_ring *ring, uint32_t number, uint64_t *first_index, uint8_t *document,
		  uint32_t *length);

/* ---- Sources -------------------------------------------------------------------------------- */

/*
 * All that make a source: *out is the caller's until np_source_close(), untouched on an error. Arrays and paths are
 * copied. -EINVAL: not 1 to 64 readings, or a value that cannot be; -ENOMEM.
 */
struct np_source;

/*
 * Kept-open files that each hold one integer; value = integer * scale. A file that cannot be opened or
 * read is a missing reading, not an error. The files are the source's. waits: the driver waits for the end of a
 * scan in each read. scan_ns: longest time that a scan takes, 0 when that is not known.
 */
int np_source_hwmon(const char *const *paths, const int64_t *scales, uint32_t readings, int waits, int64_t scan_ns,
		    struct np_source **out);

enum np_quantity { NP_SHUNT_UV = 0, NP_BUS_UV = 1, NP_CURRENT_UA = 2, NP_POWER_UW = 3 };

/*
 * Kept-open files of NVIDIA's IIO driver: `ui_input_N` ("mV mA", read once a tick for all its readings) or one
 * integer in mV, mA or mW. The quantities are NP_BUS_UV, NP_CURRENT_UA, NP_POWER_UW. The files are the source's.
 */
int np_source_iio(const char *const *paths, const int32_t *quantities, uint32_t readings, struct np_source **out);

/* Plays count rows (1 or more) of readings, one row a tick; afterwards ENODATA readings, or from the start if repeat. */
int np_source_replay(const struct np_reading *rows, uint64_t count, uint32_t readings, int repeat,
		     struct np_source **out);

struct np_timeline;

struct np_timeline_record {
	uint64_t index;
	int64_t start_ns;
	int64_t end_ns;
	int64_t power_uw[8];
	uint64_t check;
};

/*
 * Map a timeline file read-only. *out is the caller's until np_timeline_close() or until a simulated source takes it,
 * untouched on an error. -NP_ENOTTIMELINE, -NP_EVERSION, -NP_ETRUNCATED: what is wrong with the file.
 */
int np_timeline_open(const char *path, struct np_timeline **out);

/*
 * A closed timeline in memory; the records are borrowed and must outlive it; index and check are not looked at.
 * The 8 values of idle_uw are copied. *out is the caller's as that of np_timeline_open(). -ENOMEM.
 */
int np_timeline_memory(const struct np_timeline_record *records, uint64_t count, const int64_t *idle_uw,
		       struct np_timeline **out);

/* Column of the rail of that name, or -ENOENT; nothing is kept. Timelines in memory have no names. */
int np_timeline_rail(const struct np_timeline *line, const char *name);

/* Give a timeline back that no source took. Borrowed records stay the caller's. */
void np_timeline_close(struct np_timeline *line);

struct np_chip_options {
	uint16_t config;	/* the INA3221's register 0 */
	int32_t rail[3];	/* column in the timeline; -1: nothing connected, channel switched off */
	int64_t bus_uv[3];
	int64_t shunt_uohm[3];
};

struct np_sim_channel {
	uint8_t chip;
	uint8_t channel;	/* 0..2 */
	uint8_t quantity;	/* enum np_quantity; NP_CURRENT_UA and NP_POWER_UW under NP_DRIVER_IIO only */
};

/* How the chip is read. docs/chip.md says what each of them does and knows. */
enum np_driver {
	NP_DRIVER_CONTINUOUS = 0,	/* newer hwmon driver: a read is one transfer and may repeat */
	NP_DRIVER_WAITING = 1,		/* older hwmon driver: every read waits for the end of a scan */
	NP_DRIVER_IIO = 2,		/* JetPack 4: voltage and current of a channel in one go */
	NP_DRIVER_I2C = 3,		/* registers, as np_source_i2c() */
	NP_DRIVER_SINGLE_SHOT = 4	/* newer hwmon driver with ti,single-shot: every read makes a scan */
};

struct np_sim_options {
	int64_t delay_ns;	/* the chip sees the rails this much later */
	int64_t lag_ns;		/* time constant of one pole before the chip */
	double noise_uv;	/* standard deviation at the shunt input, per conversion; the bus input has 200 times it */
	double offset_uv;	/* at the shunt input; the bus input has 200 times it */
	double gain_ppm;	/* of both inputs */
	int64_t droop_uohm;	/* resistance of each supply: the bus voltage falls with the current */
	double clock_ppm;	/* the chips' periods are longer by this, */
	double spread_ppm;	/* and each by a drawn error of this standard deviation, */
	double swing_ppm;	/* and by a sine of this amplitude */
	double swing_s;		/* and period, */
	double walk_ppm;	/* and by a random walk that gains this standard deviation in a second */
	uint64_t seed;		/* of everything drawn: noise, phase of the scan and clocks */
	int32_t driver;		/* enum np_driver */
	int32_t bus_hz;		/* bit clock of the wire, 48 bits a transfer; 0: transfers take no time */
	int32_t narrow;		/* the recursive average is kept in 13 bits, not finer than the register */
	int32_t averaged_ready;	/* the conversion-ready flag is set every N scans, N being the averaging; else every scan */
	int64_t second_lag_ns;	/* time constant of a second pole behind the first; 0: there is none */
};

/* Reads number first .. first + count - 1 of a reading fail, and again every `every` reads if that is not 0. */
struct np_sim_error {
	uint32_t reading;
	int32_t error;		/* an errno; ETIMEDOUT of a waiting driver comes after its two waits */
	uint64_t first;
	uint64_t count;
	uint64_t every;
};

/*
 * INA3221s in software over a timeline, which the source owns on success, closes with itself, and leaves to the caller
 * on an error. Transfers and the driver's sleeps take
 * their time on the clock of whoever reads: the loop really waits, np_simulate() moves on.
 */
int np_source_sim(struct np_timeline *line, const struct np_chip_options *chips, uint32_t chip_count,
		  const struct np_sim_channel *channels, uint32_t readings, const struct np_sim_options *options,
		  const struct np_sim_error *errors, uint32_t error_count, struct np_source **out);

/* ---- Registers over /dev/i2c-N ---------------------------------------------------------------- */

struct np_i2c;

/* Open /dev/i2c-N. *out is the caller's until np_i2c_close() or until a source takes it, untouched on an error. */
int np_i2c_open(const char *device, struct np_i2c **out);

/* Give a bus back that no source took. */
void np_i2c_close(struct np_i2c *i2c);

/* -EBUSY: a driver is bound to this address. Reading and writing work all the same, beside the driver. */
int np_i2c_claim(struct np_i2c *i2c, uint8_t address);

/* One register of a chip, read into *value or written from value, in one transfer. An error is the adapter's errno. */
int np_i2c_read(struct np_i2c *i2c, uint8_t address, uint8_t reg, uint16_t *value);
int np_i2c_write(struct np_i2c *i2c, uint8_t address, uint8_t reg, uint16_t value);

struct np_i2c_chip {
	uint8_t address;
	uint16_t config;	/* as it stands in the chip: nothing is written */
	int32_t offset_uv[3];	/* of the shunt voltage: its amount is lessened by this */
};

/*
 * INA3221s (1 to 8) on a bus, which the source owns on success, closes with itself, and leaves to the caller on an
 * error. A tick looks at each chip's conversion-ready flag, for the next
 * end of a scan up to wait_ns if that is not 0, then reads the registers in the order of the scan. Readings know
 * whether they are new (docs/chip.md), as long as nobody else looks at the flag.
 */
int np_source_i2c(struct np_i2c *i2c, const struct np_i2c_chip *chips, uint32_t chip_count,
		  const struct np_sim_channel *channels, uint32_t readings, int64_t wait_ns, struct np_source **out);

/* ---- NVML ------------------------------------------------------------------------------------ */

/*
 * NVIDIA's management library, opened at run time: nothing is linked with it. What it calls a device is a GPU here, by
 * its number. An instance may be used from any thread; a source made from it holds it until the source is freed.
 */
struct np_nvml;

/* What is read of a GPU. */
enum np_nvml_kind {
	NP_NVML_INSTANT = 0,	/* field 186, uW */
	NP_NVML_AVERAGE = 1,	/* field 185, or nvmlDeviceGetPowerUsage where there is none, uW */
	NP_NVML_ENERGY = 2,	/* nvmlDeviceGetTotalEnergyConsumption, uJ */
	NP_NVML_SAMPLES = 3	/* the ring of nvmlDeviceGetSamples, uW */
};

struct np_nvml_gpu {
	char name[96];
	char uuid[96];
	int32_t mig;		/* it is divided into slices; its power is that of all of them */
	int32_t slice;		/* it is such a slice */
};

struct np_nvml_value {
	int64_t value;
	int64_t stamp_us;	/* of the driver, on a clock that is not said; 0: there is none */
	int64_t begin_ns;	/* the call lay between these two */
	int64_t end_ns;
};

/* What is not told is -1. */
struct np_nvml_conditions {
	int32_t sm_mhz;
	int32_t memory_mhz;
	int32_t temperature_c;
	int64_t limit_mw;	/* enforced power limit */
	int64_t reasons;	/* why clocks are lower than they could be: bits of nvmlClocksThrottleReasons */
};

enum { NP_NVML_GPUS = 16, NP_NVML_DEPTH = 256 };

/* -NP_ENOLIBRARY: there is no such library; -NP_ENOTNVML: it lacks what is needed; -NP_ENVML - n: it does not start. */
int np_nvml_open(const char *library, struct np_nvml **out);
void np_nvml_close(struct np_nvml *nvml);

/* GPUs that there are; at most NP_NVML_GPUS are looked at. */
int np_nvml_count(const struct np_nvml *nvml);
/* The library is a stand-in: what it tells is simulated. */
int np_nvml_simulated(const struct np_nvml *nvml);
/* The driver's version; never NULL. */
const char *np_nvml_driver(const struct np_nvml *nvml);

int np_nvml_gpu(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_gpu *out);
void np_nvml_conditions(struct np_nvml *nvml, uint32_t gpu, struct np_nvml_conditions *out);

/* One reading now; of the ring its newest. */
int np_nvml_read(struct np_nvml *nvml, uint32_t gpu, int32_t kind, struct np_nvml_value *out);
/* The ring's readings after since_us, oldest first, begin and end those of the call; room for NP_NVML_DEPTH. How many. */
int np_nvml_samples(struct np_nvml *nvml, uint32_t gpu, uint64_t since_us, struct np_nvml_value *out);
/* The next critical error that the driver has reported of a GPU since the last call: 1 and its XID; 0: there is none. */
int np_nvml_xid(struct np_nvml *nvml, uint32_t *gpu, uint64_t *xid);

struct np_nvml_channel {
	uint32_t gpu;
	int32_t kind;		/* enum np_nvml_kind */
	uint32_t every;		/* NVML is asked in every so many-th tick, 1 to 65535 */
	uint32_t again;		/* of a counter: ticks between two looks of a turn, 1 to 65535 */
	int32_t stamped;	/* of a field: its time stamps are those of the values, not of the calls */
};

/*
 * A tick has one reading of a ring: those that a call gave are played one a tick, so ticks must come faster than they.
 * A counter's turn goes on until it has changed from one look to the next: then it is known when it was renewed.
 * clock: which of the system's clocks the stamps are on, CLOCK_MONOTONIC, CLOCK_BOOTTIME or CLOCK_REALTIME; -1: none.
 * docs/nvml.md says what is known of a reading.
 */
int np_source_nvml(struct np_nvml *nvml, const struct np_nvml_channel *channels, uint32_t readings, int32_t clock,
		   struct np_source **out);

/*
 * Read reading i in every every[i]-th tick only (1: in each), before a sampler has the source. The first tick reads all of
 * them; then those with the same number take turns. Between, such a reading is what it was when last read, as
 * NP_REPEATED or NP_MISSING with NP_HELD, and takes no time. One number for each reading, copied, 1 or more (-EINVAL).
 * -EOPNOTSUPP: not this source (iio, replay). -EBUSY while a sampler reads it.
 */
int np_source_decimate(struct np_source *source, const uint8_t *every);

/*
 * Housekeeping, to be called about once a second beside the loop: re-opens files that are gone or were
 * replaced. Calls less than a second apart do nothing. Returns how many files were opened. From any thread, until
 * the source is closed.
 */
int np_source_revive(struct np_source *source);

/*
 * Give a source back, and with it what it owns; no call may be given it any more. Its files go when no sampler that was
 * made with it is left. -EBUSY while a sampler reads it; it is the caller's still.
 */
int np_source_close(struct np_source *source);

/*
 * Read the source at each of count times in virtual time: no thread, no waiting. out, the caller's, has room for
 * count * (5 + 3 * readings) words; the source is borrowed for the call (-EBUSY: a sampler has it). The slot is the
 * position of the time. Returns how many ticks were taken: like the loop, a time that passed while the read before went
 * on is a slot that is missed.
 */
int64_t np_simulate(struct np_source *source, const int64_t *t_ns, uint64_t count, uint32_t epoch, uint64_t *out);

/*
 * Ticks of a simulated source that are not what its timeline says: a record was overwritten before it was read, or came
 * when its beginning had been told as idle. 0 for the others. From any thread, until the source is closed.
 */
uint64_t np_source_underruns(const struct np_source *source);

/* ---- Sampler -------------------------------------------------------------------------------- */

struct np_sampler;

struct np_sampler_options {
	uint32_t epoch;		/* carried by every tick */
	int32_t priority;	/* of SCHED_FIFO; 0: leave the scheduling class alone */
	int32_t cpu;		/* -1: any */
	int32_t lock_memory;
	int64_t spin_ns;	/* poll the clock for so long before each deadline instead of sleeping; at most half a period */
};

struct np_stats {
	uint64_t ticks;
	uint64_t missed_slots;	/* grid points this sampler passed over */
	uint64_t last_slot;
	int64_t last_t_ns;
	int64_t lateness_max_ns;
	int64_t thread_cpu_ns;
	uint64_t underruns;	/* of a simulated source */
	uint64_t locked_bytes;
	int32_t policy;		/* > 0: SCHED_FIFO at this priority; 0: not asked; < 0: refused with this error */
	int32_t cpu;		/* -1: not pinned */
	int32_t lock_error;	/* why something stayed unlocked, or 0 */
	int32_t running;
	int32_t error;		/* what ended the loop, or 0 */
};

enum { NP_LATENESS_BINS = 352 };

/*
 * Put a writer's ring and a source together. *out is the caller's until np_sampler_destroy(), untouched on an error; it
 * holds ring and source until then, whoever closes them, and copies the options. -EBADF: the ring is a reader's, or one
 * of the two is NULL. -EINVAL: their readings differ in number, a priority outside 0 to 99, a spin_ns out of range.
 */
int np_sampler_create(struct np_ring *ring, struct np_source *source, const struct np_sampler_options *options,
		      struct np_sampler **out);

/*
 * Returns when the thread has its rights and memory and waits for its first deadline. From here to np_sampler_stop()
 * ring and source are the loop's: nobody else may write, read the source or close (-EBUSY). After an error nothing was
 * started, and a new try is allowed: -EBUSY: another sampler has one of them; -EBADF: one was closed; -EALREADY: it
 * runs; -NP_ECPU: not on this CPU; -NP_EFORKED. A refused priority is no error: np_stats.policy says it.
 */
int np_sampler_start(struct np_sampler *sampler);

/*
 * Ends the thread within one period or 100 ms, whichever is shorter, plus one read of the source.
 * Returns what had ended the loop before, if anything. Ring and source are the caller's again. Doing it twice is
 * harmless. -NP_EFORKED in a child of fork(): nothing was stopped.
 */
int np_sampler_stop(struct np_sampler *sampler);

/* Stops, then frees, and lets go of ring and source. In a child of fork() it does nothing. */
void np_sampler_destroy(struct np_sampler *sampler);

/* How the loop fares, copied into *out; from any thread, before start and after stop too. */
void np_sampler_stats(struct np_sampler *sampler, struct np_stats *out);

/* Copied into counts[NP_LATENESS_BINS], the caller's, from any thread; the last bin is the overflow. */
void np_sampler_lateness(const struct np_sampler *sampler, uint64_t *counts);

/* Lower edge of a bin; bins are at most 1/16 wide relative to it (64 ns below 2 us). */
int64_t np_lateness_edge(uint32_t bin);

/* Copied into counts[256], the caller's, by errno, of one reading; from any thread. -EINVAL: no such reading. */
int np_sampler_errors(const struct np_sampler *sampler, uint32_t reading, uint64_t *counts);

/* cffi end */

#endif
