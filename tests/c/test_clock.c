/* SPDX-License-Identifier: Apache-2.0 */
/* test_clock.c - reading three clocks together, on a clock that can be held up, stepped and suspended */
#define _GNU_SOURCE
#include <time.h>

#include "check.h"
#include "clock.h"
#include "sampler.h"

struct fake {
	struct np_clock clock;
	int64_t monotonic;
	int64_t suspended;
	int64_t wall;
	int calls;
	int64_t cost[64]; /* of each call */
};

static int64_t fake_now(const struct np_clock *clock, int id)
{
	struct fake *fake = (struct fake *)clock;

	fake->monotonic += fake->cost[fake->calls++ % 64];
	if (id == CLOCK_BOOTTIME)
		return fake->monotonic + fake->suspended;
	return id == CLOCK_REALTIME ? fake->monotonic + fake->wall : fake->monotonic;
}

/* Of several tries, the one that was interrupted least is kept. */
static void test_narrowest(void)
{
	struct fake fake = { .clock = { .now = fake_now }, .monotonic = 1000, .suspended = 5000, .wall = 1 << 20 };
	struct np_clocks out;

	for (int i = 0; i < 64; i++)
		fake.cost[i] = 1000;
	for (int i = 8; i < 12; i++)
		fake.cost[i] = 20; /* the third try */
	CHECK_EQUAL(np_clocks_bracket(&fake.clock, &out), 0);
	CHECK_EQUAL(out.bracket_ns, 60);
	CHECK_EQUAL(out.monotonic_ns, 1000 + 8 * 1000 + 20 + 30);
	CHECK_EQUAL(out.boottime_ns - out.monotonic_ns, 5000 - 10);
	CHECK_EQUAL(out.realtime_ns - out.monotonic_ns, (1 << 20) + 10);
}

/* A suspend moves boot time against monotonic, a step of the wall clock only the wall clock. */
static void test_suspend_and_step(void)
{
	struct fake fake = { .clock = { .now = fake_now } };
	struct np_clocks before, after;

	np_clocks_bracket(&fake.clock, &before);
	fake.suspended += 7000000000;
	fake.wall += 7000000000;
	np_clocks_bracket(&fake.clock, &after);
	CHECK_EQUAL((after.boottime_ns - after.monotonic_ns) - (before.boottime_ns - before.monotonic_ns), 7000000000);
	fake.wall -= 1000;
	before = after;
	np_clocks_bracket(&fake.clock, &after);
	CHECK_EQUAL(after.boottime_ns - after.monotonic_ns, before.boottime_ns - before.monotonic_ns);
	CHECK_EQUAL(after.realtime_ns - before.realtime_ns, -1000);
}

/* The system's clocks answer in order and in a bracket that is not negative. */
static void test_system(void)
{
	struct np_clocks a, b;

	CHECK_EQUAL(np_clocks(&a), 0);
	CHECK_EQUAL(np_clocks(&b), 0);
	CHECK(a.bracket_ns >= 0 && b.monotonic_ns >= a.monotonic_ns);
	CHECK(a.boottime_ns >= a.monotonic_ns - a.bracket_ns);
}

int main(void)
{
	test_narrowest();
	test_suspend_and_step();
	test_system();
	puts("test_clock: ok");
	return 0;
}
