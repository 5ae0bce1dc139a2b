/* SPDX-License-Identifier: Apache-2.0 */
/* test_loop.c - deadlines, overruns, counting and stopping, on a clock made for it and once on the real one */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"
#include "loop.h"

enum { PERIOD = 10000000, CAPACITY = 4096, READINGS = 2 };

/* A clock that stands still but for sleeping, being late as told, and working, as long as told. */
struct fake {
	struct np_clock clock;
	int64_t now;
	int64_t late[8];
	int64_t work[8];
	int64_t longest_nap;
	int sleeps;
	int last_sleep;		/* the next one fails */
};

static int64_t fake_now(const struct np_clock *clock, int id)
{
	(void)id;
	return ((const struct fake *)clock)->now;
}

static int fake_sleep(const struct np_clock *clock, int64_t deadline_ns)
{
	struct fake *fake = (struct fake *)clock;

	if (fake->sleeps == fake->last_sleep)
		return -EIO;
	if (deadline_ns - fake->now > fake->longest_nap)
		fake->longest_nap = deadline_ns - fake->now;
	fake->now = deadline_ns + fake->late[fake->sleeps % 8];
	fake->sleeps++;
	return fake->sleeps % 3 ? 0 : -EINTR; /* an interrupted sleep that was long enough */
}

struct worker {
	struct np_source source;
	struct fake *fake;
	int reads;
	uint64_t told;		/* ticks that knew when the next one is due */
};

/* The first reading counts, the second is never there. */
static void worker_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns,
			struct np_reading *readings)
{
	struct worker *worker = (struct worker *)source;

	(void)clock;
	if (worker->fake)
		worker->told += t_ns - worker->fake->late[worker->reads % 8] + PERIOD == source->due_ns;
	readings[0].value = worker->reads;
	reading_miss(&readings[1], worker->reads % 2 ? EAGAIN : 524);
	if (worker->fake)
		worker->fake->now += worker->fake->work[worker->reads % 8];
	worker->reads++;
}

static void worker_close(struct np_source *source)
{
	(void)source;
}

static const struct np_source_ops worker_ops = { .read = worker_read, .close = worker_close };

static struct np_sampler *make(struct np_ring *ring, struct worker *worker, struct np_sampler_options options)
{
	struct np_sampler *sampler;

	source_init(&worker->source, &worker_ops, READINGS);
	CHECK_EQUAL(np_sampler_create(ring, &worker->source, &options, &sampler), 0);
	return sampler;
}

static struct np_ring *make_ring(const char *name, int64_t period)
{
	struct np_ring *ring;

	CHECK_EQUAL(np_ring_create(test_path(name), READINGS, period, CAPACITY, &ring), 0);
	return ring;
}

static uint64_t word_of(const struct np_ring *ring, uint64_t index, int word)
{
	return shared_load(ring_tick(ring, index) + word);
}

/* Run until the clock ends the loop. */
static struct np_stats run_out(struct np_sampler *sampler, struct fake *fake)
{
	struct np_stats stats;

	sampler_set_clock(sampler, &fake->clock);
	CHECK_EQUAL(np_sampler_start(sampler), 0);
	do
		np_sampler_stats(sampler, &stats);
	while (!stats.error);
	CHECK_EQUAL(stats.error, -EIO);
	CHECK(!stats.running);
	CHECK_EQUAL(np_sampler_stop(sampler), -EIO);
	np_sampler_stats(sampler, &stats);
	return stats;
}

/* Every tick is taken at its own grid point when nothing is late, and lateness is now - deadline. */
static void test_on_time(void)
{
	struct np_ring *ring = make_ring("on_time", PERIOD);
	struct fake fake = { { fake_now, fake_sleep }, ring->t0_ns + PERIOD / 2, { 100, 200, 300, 400, 0, 1, 2, 63 },
			     { 0 }, 0, 0, 1000 };
	struct worker worker = { .fake = &fake };
	struct np_sampler *sampler = make(ring, &worker, (struct np_sampler_options){ .epoch = 9, .cpu = -1 });
	struct np_stats stats = run_out(sampler, &fake);
	uint64_t lateness[NP_LATENESS_BINS];

	CHECK_EQUAL(stats.ticks, 1000);
	CHECK_EQUAL(worker.told, 1000);
	CHECK_EQUAL(stats.missed_slots, 0);
	CHECK_EQUAL(stats.last_slot, 1000);
	CHECK_EQUAL(stats.lateness_max_ns, 400);
	CHECK_EQUAL(stats.policy, 0);
	CHECK_EQUAL(ring->next, 1000);
	for (uint64_t i = 0; i < 1000; i++) {
		CHECK_EQUAL(word_of(ring, i, TICK_SLOT), i + 1);
		CHECK_EQUAL(word_of(ring, i, TICK_T_NS), ring->t0_ns + (int64_t)(i + 1) * PERIOD + fake.late[i % 8]);
		CHECK_EQUAL(word_of(ring, i, TICK_EPOCH_AND_N), 9 | (uint64_t)READINGS << 32);
		CHECK_EQUAL(word_of(ring, i, RING_TICK_WORDS), i);
	}
	np_sampler_lateness(sampler, lateness);
	CHECK_EQUAL(lateness[0], 500);
	CHECK_EQUAL(lateness[100 / 64], 125);
	CHECK_EQUAL(lateness[400 / 64], 125);
	np_sampler_destroy(sampler);
	np_ring_close(ring);
}

/* After an overrun the loop goes on at the next grid point; what it passed over is counted and in the slots. */
static void test_overrun(void)
{
	struct np_ring *ring = make_ring("overrun", PERIOD);
	struct fake fake = { { fake_now, fake_sleep }, ring->t0_ns, { 0, 0, 0, 0, 2 * PERIOD, 0, 0, 0 },
			     { 100, 7 * PERIOD / 2, 100, 100, 100, 100, PERIOD, PERIOD - 1 }, 0, 0, 800 };
	/* per eight ticks: 3 slots passed over while working, 2 while sleeping, 1 by ending on a deadline */
	const uint64_t passed[8] = { 0, 0, 3, 3, 3, 5, 5, 6 };
	struct worker worker = { .fake = &fake };
	struct np_sampler *sampler = make(ring, &worker, (struct np_sampler_options){ .cpu = -1 });
	struct np_stats stats = run_out(sampler, &fake);
	int64_t last_t = 0;

	CHECK_EQUAL(stats.ticks, 800);
	CHECK_EQUAL(stats.missed_slots, 600);
	CHECK_EQUAL(stats.lateness_max_ns, 2 * PERIOD);
	for (uint64_t i = 0; i < 800; i++) {
		int64_t t = (int64_t)word_of(ring, i, TICK_T_NS);

		CHECK(t > last_t);
		last_t = t;
		CHECK_EQUAL(word_of(ring, i, TICK_SLOT), 1 + i + i / 8 * 6 + passed[i % 8]);
	}
	np_sampler_destroy(sampler);
	np_ring_close(ring);
}

/* Missing readings are counted by errno, one that fits no byte as a breach of protocol. */
static void test_errors_counted(void)
{
	struct np_ring *ring = make_ring("errors", PERIOD);
	struct fake fake = { .clock = { fake_now, fake_sleep }, .now = ring->t0_ns, .last_sleep = 100 };
	struct worker worker = { .fake = &fake };
	struct np_sampler *sampler = make(ring, &worker, (struct np_sampler_options){ .cpu = -1 });
	uint64_t counts[256];

	run_out(sampler, &fake);
	CHECK_EQUAL(np_sampler_errors(sampler, 1, counts), 0);
	CHECK_EQUAL(counts[EAGAIN], 50);
	CHECK_EQUAL(counts[EPROTO], 50);
	CHECK_EQUAL(np_sampler_errors(sampler, 0, counts), 0);
	for (int i = 0; i < 256; i++)
		CHECK_EQUAL(counts[i], 0);
	CHECK_EQUAL(np_sampler_errors(sampler, 2, counts), -EINVAL);
	np_sampler_destroy(sampler);
	np_ring_close(ring);
}

/* However long the period, the loop never sleeps so long that stopping would take long. */
static void test_long_period(void)
{
	struct np_ring *ring = make_ring("long", 3600 * INT64_C(1000000000));
	struct fake fake = { .clock = { fake_now, fake_sleep }, .now = ring->t0_ns, .last_sleep = 36000 };
	struct worker worker = { .fake = &fake };
	struct np_sampler *sampler = make(ring, &worker, (struct np_sampler_options){ .cpu = -1 });

	CHECK_EQUAL(run_out(sampler, &fake).ticks, 1);
	CHECK(fake.longest_nap <= 100000000);
	np_sampler_destroy(sampler);
	np_ring_close(ring);
}

/* Ring and source are borrowed while it runs, and given back by stop, which may be called twice. */
static void test_borrowing(void)
{
	struct np_ring *ring = make_ring("borrow", 1000000);
	struct worker worker = { 0 };
	struct np_sampler_options options = { .priority = 80, .cpu = -1, .lock_memory = 1 };
	struct np_sampler *sampler = make(ring, &worker, options);
	struct np_sampler *second = make(ring, &worker, options);
	struct np_reading readings[READINGS] = { 0 };
	struct np_stats stats;
	uint32_t number;
	int status;
	pid_t child;

	CHECK_EQUAL(np_sampler_start(sampler), 0);
	CHECK_EQUAL(np_sampler_start(sampler), -EALREADY);
	CHECK_EQUAL(np_sampler_start(second), -EBUSY);
	CHECK_EQUAL(np_ring_close(ring), -EBUSY);
	CHECK_EQUAL(np_source_close(&worker.source), -EBUSY);
	CHECK_EQUAL(np_ring_begin_epoch(ring, (const uint8_t *)"x", 1, &number), -EBUSY);
	CHECK_EQUAL(np_ring_append(ring, 0, 0, 0, readings), -EBUSY);
	child = fork();
	if (!child)
		_exit(np_sampler_stop(sampler) == -NP_EFORKED && np_sampler_start(second) == -NP_EFORKED ? 0 : 1);
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	do
		np_sampler_stats(sampler, &stats);
	while (stats.ticks < 20);
	CHECK(stats.running && stats.thread_cpu_ns > 0);
	CHECK(stats.policy == 80 || stats.policy == -EPERM);
	CHECK(stats.locked_bytes > 0 || stats.lock_error);
	CHECK_EQUAL(np_sampler_stop(sampler), 0);
	CHECK_EQUAL(np_sampler_stop(sampler), 0);
	np_sampler_stats(sampler, &stats);
	CHECK_EQUAL(stats.ticks, ring->next);
	CHECK(!stats.running && stats.thread_cpu_ns > 0);
	CHECK_EQUAL(np_sampler_start(second), 0);
	np_sampler_destroy(second);
	np_sampler_destroy(sampler);
	CHECK_EQUAL(np_ring_close(ring), 0);
}

static void heap_close(struct np_source *source)
{
	free(source);
}

static const struct np_source_ops heap_ops = { .read = worker_read, .close = heap_close };

/* Source and ring may be closed before the sampler is destroyed, in any order: it can be asked all its life, and never starts again. */
static void test_outlives_what_it_was_made_with(void)
{
	for (int order = 0; order < 4; order++) {
		struct np_ring *ring = make_ring("outlives", 1000000);
		struct worker *worker = calloc(1, sizeof(*worker));
		struct np_sampler_options options = { .cpu = -1 };
		uint64_t counts[NP_LATENESS_BINS];
		uint64_t errors[256];
		struct np_sampler *sampler;
		struct np_stats stats;

		source_init(&worker->source, &heap_ops, READINGS);
		CHECK_EQUAL(np_sampler_create(ring, &worker->source, &options, &sampler), 0);
		CHECK_EQUAL(np_sampler_start(sampler), 0);
		do
			np_sampler_stats(sampler, &stats);
		while (stats.ticks < 5);
		CHECK_EQUAL(np_source_close(&worker->source), -EBUSY);
		CHECK_EQUAL(np_ring_close(ring), -EBUSY);
		CHECK_EQUAL(np_sampler_stop(sampler), 0);
		if (order & 1)
			CHECK_EQUAL(np_source_close(&worker->source), 0);
		if (order & 2)
			CHECK_EQUAL(np_ring_close(ring), 0);
		np_sampler_stats(sampler, &stats);
		np_sampler_lateness(sampler, counts);
		CHECK(stats.ticks >= 5 && !stats.running);
		CHECK_EQUAL(np_sampler_errors(sampler, 1, errors), 0);
		CHECK_EQUAL(np_sampler_errors(sampler, READINGS, errors), -EINVAL);
		CHECK(errors[EAGAIN] + errors[EPROTO] == stats.ticks);
		CHECK_EQUAL(np_sampler_start(sampler), order ? -EBADF : 0);
		np_sampler_destroy(sampler);
		if (!(order & 1))
			CHECK_EQUAL(np_source_close(&worker->source), 0);
		if (!(order & 2))
			CHECK_EQUAL(np_ring_close(ring), 0);
	}
}

/* A CPU that was asked for and is not there is an error, and leaves nothing running. */
static void test_no_such_cpu(void)
{
	struct np_ring *ring = make_ring("cpu", 1000000);
	struct worker worker = { 0 };
	struct np_sampler *sampler = make(ring, &worker, (struct np_sampler_options){ .cpu = 1023 });

	CHECK_EQUAL(np_sampler_start(sampler), -NP_ECPU);
	CHECK_EQUAL(np_sampler_stop(sampler), 0);
	np_sampler_destroy(sampler);
	sampler = make(ring, &worker, (struct np_sampler_options){ .cpu = 0 });
	CHECK_EQUAL(np_sampler_start(sampler), 0);
	np_sampler_destroy(sampler);
	CHECK_EQUAL(np_ring_close(ring), 0);
}

/* Every lateness lies in the bin whose edges hold it. */
static void test_bins(void)
{
	for (uint32_t bin = 0; bin + 1 < NP_LATENESS_BINS; bin++) {
		int64_t low = np_lateness_edge(bin);
		int64_t high = np_lateness_edge(bin + 1);

		CHECK(high > low);
		CHECK_EQUAL(lateness_bin(low), bin);
		CHECK_EQUAL(lateness_bin(high - 1), bin);
		CHECK(high - low <= 64 || (high - low) * 16 <= low);
	}
	CHECK_EQUAL(lateness_bin(-5), 0);
	CHECK_EQUAL(lateness_bin(INT64_MAX), NP_LATENESS_BINS - 1);
	CHECK(np_lateness_edge(NP_LATENESS_BINS - 1) > 1000000000);
}

int main(void)
{
	test_on_time();
	test_overrun();
	test_errors_counted();
	test_long_period();
	test_borrowing();
	test_outlives_what_it_was_made_with();
	test_no_such_cpu();
	test_bins();
	puts("test_loop: ok");
	return 0;
}
