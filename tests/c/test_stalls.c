/* SPDX-License-Identifier: Apache-2.0 */
/* test_stalls.c - what holds the loop up or moves its clocks: a stopped process, a slow source, suspend, a wall-clock step */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "check.h"
#include "loop.h"

enum { PERIOD = 1000000, CAPACITY = 65536, STOPPED_S = 3 };

static const int64_t MS = 1000000;

/* ---- Clocks and sources of a test's choice --------------------------------------------------- */

struct fake {
	struct np_clock clock;
	int64_t monotonic;
	int64_t suspended;	/* what BOOTTIME is ahead */
	int64_t wall;
	int sleeps;
	int last_sleep;		/* the next one fails and ends the loop */
	int suspend_at;		/* sleeps */
	int step_at;
};

static int64_t fake_now(const struct np_clock *clock, int id)
{
	const struct fake *fake = (const struct fake *)clock;

	return fake->monotonic + (id == CLOCK_BOOTTIME ? fake->suspended : id == CLOCK_REALTIME ? fake->wall : 0);
}

/* The machine is suspended, or the wall clock set, while the loop sleeps. */
static int fake_sleep(const struct np_clock *clock, int64_t deadline_ns)
{
	struct fake *fake = (struct fake *)clock;

	if (fake->sleeps == fake->last_sleep)
		return -EIO;
	fake->sleeps++;
	if (fake->sleeps == fake->suspend_at) {
		fake->suspended += 3600 * INT64_C(1000000000);
		fake->wall += 3600 * INT64_C(1000000000);
	}
	if (fake->sleeps == fake->step_at)
		fake->wall -= 86400 * INT64_C(1000000000);
	fake->monotonic = deadline_ns;
	return 0;
}

struct slow {
	struct np_source source;
	struct fake *fake;
	int reads;
	int blocks_at;
	int64_t blocks_ns;
};

/* Two readings: one before what blocks, and the one that blocks. */
static void slow_read(struct np_source *source, const struct np_clock *clock, int64_t t_ns, struct np_reading *readings)
{
	struct slow *slow = (struct slow *)source;

	for (int i = 0; i < 2; i++) {
		readings[i].begin_ns = reading_offset(np_clock_monotonic(clock), t_ns);
		if (slow->fake)
			slow->fake->monotonic += 10000 + (i == 1 && slow->reads == slow->blocks_at ? slow->blocks_ns : 0);
		readings[i].end_ns = reading_offset(np_clock_monotonic(clock), t_ns);
	}
	slow->reads++;
}

static void slow_close(struct np_source *source)
{
	(void)source;
}

static const struct np_source_ops slow_ops = { .read = slow_read, .close = slow_close };

static uint64_t word_of(const struct np_ring *ring, uint64_t index, int word)
{
	return shared_load(ring_tick(ring, index) + word);
}

static struct np_reading reading_of(const struct np_ring *ring, uint64_t index, uint64_t number)
{
	struct np_reading reading;
	uint64_t words[RING_READING_WORDS];

	for (int i = 0; i < RING_READING_WORDS; i++)
		words[i] = word_of(ring, index, (int)(RING_TICK_WORDS + number * RING_READING_WORDS) + i);
	memcpy(&reading, words, sizeof(reading));
	return reading;
}

static struct np_ring *make_ring(const char *name)
{
	struct np_ring *ring;

	CHECK_EQUAL(np_ring_create(test_path(name), 2, PERIOD, CAPACITY, &ring), 0);
	return ring;
}

static struct np_stats run_out(struct np_ring *ring, struct slow *slow, struct fake *fake)
{
	const struct np_sampler_options options = { .cpu = -1 };
	struct np_sampler *sampler;
	struct np_stats stats;

	source_init(&slow->source, &slow_ops, 2);
	slow->fake = fake;
	CHECK_EQUAL(np_sampler_create(ring, &slow->source, &options, &sampler), 0);
	sampler_set_clock(sampler, &fake->clock);
	CHECK_EQUAL(np_sampler_start(sampler), 0);
	do {
		usleep(100);
		np_sampler_stats(sampler, &stats);
	} while (!stats.error);
	np_sampler_destroy(sampler);
	return stats;
}

/* ---- Tests ----------------------------------------------------------------------------------- */

/* A source that blocks for 40 ms: its reading says from when to when, and the slots of that time are missed, no more. */
static void test_blocking_source(void)
{
	struct np_ring *ring = make_ring("blocking");
	struct fake fake = { .clock = { fake_now, fake_sleep }, .monotonic = ring->t0_ns, .last_sleep = 300 };
	struct slow slow = { .blocks_at = 100, .blocks_ns = 40 * MS };
	struct np_stats stats = run_out(ring, &slow, &fake);

	CHECK_EQUAL(stats.ticks, 300);
	CHECK_EQUAL(stats.missed_slots, 40);
	for (uint64_t i = 0; i < 300; i++) {
		struct np_reading before = reading_of(ring, i, 0);
		struct np_reading reading = reading_of(ring, i, 1);

		CHECK_EQUAL(word_of(ring, i, TICK_INDEX), i);
		CHECK_EQUAL(word_of(ring, i, TICK_SLOT), 1 + i + (i > 100 ? 40 : 0));
		CHECK_EQUAL(before.begin_ns, 0);
		CHECK_EQUAL(before.end_ns, 10000);
		CHECK_EQUAL(reading.begin_ns, 10000);
		CHECK_EQUAL(reading.end_ns, 20000 + (i == 100 ? 40 * MS : 0));
	}
	np_ring_close(ring);
}

/* Suspend stops CLOCK_MONOTONIC, and a step of the wall clock does not touch it: no slot is missed, no tick moves. */
static void test_suspend_and_step(void)
{
	struct np_ring *ring = make_ring("suspend");
	struct fake fake = { .clock = { fake_now, fake_sleep }, .monotonic = ring->t0_ns, .last_sleep = 300,
			     .suspend_at = 100, .step_at = 200 };
	struct slow slow = { .blocks_at = -1 };
	struct np_clocks before, after;
	struct np_stats stats;

	CHECK_EQUAL(np_clocks_bracket(&fake.clock, &before), 0);
	stats = run_out(ring, &slow, &fake);
	CHECK_EQUAL(np_clocks_bracket(&fake.clock, &after), 0);
	CHECK_EQUAL(stats.ticks, 300);
	CHECK_EQUAL(stats.missed_slots, 0);
	for (uint64_t i = 0; i < 300; i++) {
		CHECK_EQUAL(word_of(ring, i, TICK_SLOT), i + 1);
		CHECK_EQUAL(word_of(ring, i, TICK_T_NS), ring->t0_ns + (int64_t)(i + 1) * PERIOD);
	}
	/* The clocks tell the two apart. */
	CHECK_EQUAL((after.boottime_ns - after.monotonic_ns) - (before.boottime_ns - before.monotonic_ns),
		    3600 * INT64_C(1000000000));
	CHECK_EQUAL((after.realtime_ns - after.boottime_ns) - (before.realtime_ns - before.boottime_ns),
		    -86400 * INT64_C(1000000000));
	np_ring_close(ring);
}

/* The child that is stopped: samples until it is killed. */
static void sample_forever(const char *path)
{
	const struct np_sampler_options options = { .cpu = -1 };
	struct slow slow = { .blocks_at = -1 };
	struct np_sampler *sampler;
	struct np_ring *ring;

	CHECK_EQUAL(np_ring_create(path, 2, PERIOD, CAPACITY, &ring), 0);
	source_init(&slow.source, &slow_ops, 2);
	CHECK_EQUAL(np_sampler_create(ring, &slow.source, &options, &sampler), 0);
	CHECK_EQUAL(np_sampler_start(sampler), 0);
	for (;;)
		pause();
}

static uint64_t next_index(const char *path)
{
	struct np_ring_info info = { .next_index = 0 };
	struct np_ring *ring;

	if (np_ring_open(path, &ring))
		return 0;
	np_ring_info(ring, &info);
	np_ring_close(ring);
	return info.next_index;
}

static void wait_for_ticks(const char *path, uint64_t more)
{
	uint64_t wanted = next_index(path) + more;

	for (int i = 0; next_index(path) < wanted; i++) {
		CHECK(i < 20000);
		usleep(1000);
	}
}

/* A process stopped for 3 s: one gap in the slots as long as the stop, none in the index, and no burst after it. */
static void test_stopped_process(void)
{
	const char *path = test_path("stopped");
	pid_t child = fork();
	struct np_ring *ring;
	uint64_t gaps = 0;
	uint64_t count;

	if (!child)
		sample_forever(path);
	wait_for_ticks(path, 200);
	CHECK_EQUAL(kill(child, SIGSTOP), 0);
	sleep(STOPPED_S);
	CHECK_EQUAL(kill(child, SIGCONT), 0);
	wait_for_ticks(path, 300);
	CHECK_EQUAL(kill(child, SIGKILL), 0);
	CHECK_EQUAL(waitpid(child, NULL, 0), child);
	CHECK_EQUAL(np_ring_open(path, &ring), 0);
	count = next_index(path);
	for (uint64_t i = 1; i < count; i++) {
		uint64_t slot = word_of(ring, i, TICK_SLOT);
		uint64_t passed = slot - word_of(ring, i - 1, TICK_SLOT);
		int64_t t = (int64_t)word_of(ring, i, TICK_T_NS);

		CHECK_EQUAL(word_of(ring, i, TICK_INDEX), i);
		gaps += passed >= 1000;
		/* No tick is taken before its own deadline, and no deadline twice: that is what a burst would be. */
		CHECK(passed >= 1);
		CHECK(t >= ring->t0_ns + (int64_t)slot * PERIOD);
		if (passed >= 1000)
			CHECK(passed * PERIOD >= (uint64_t)STOPPED_S * 1000000000 - 100 * PERIOD);
	}
	CHECK_EQUAL(gaps, 1);
	np_ring_close(ring);
}

int main(void)
{
	test_blocking_source();
	test_suspend_and_step();
	test_stopped_process();
	puts("test_stalls: ok");
	return 0;
}
