/* SPDX-License-Identifier: Apache-2.0 */
/*
 * loop.c - read the source at absolute deadlines t0 + slot * period
 *
 * One thread of its own that never touches Python. Between deadlines it sleeps; after an overrun it goes
 * on at the next grid point, so ticks never come in a burst and the slot shows what was passed over.
 */
#define _GNU_SOURCE
#include "loop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Longest sleep at a stretch: a long period must not make for a long stop. */
#define NAP_NS INT64_C(100000000)

/*
 * A wait shorter than this is not slept: setting a timer and switching away and back takes longer than it lasts, so
 * the clock is read again instead. A read takes some 20 ns; after that many the clock does not go on by itself.
 */
#define SHORT_NS INT64_C(1000)
enum { SHORT_LOOKS = 256 };

/* ---- The loop ------------------------------------------------------------------------------- */

/* For words that only the loop writes. */
static void add(_Atomic uint64_t *word, uint64_t n)
{
	uint64_t value = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, value + n, memory_order_relaxed);
}

/* The first slot that is due after t. */
static uint64_t slot_after(const struct np_ring *ring, int64_t t_ns)
{
	return t_ns < ring->t0_ns ? 0 : (uint64_t)((t_ns - ring->t0_ns) / ring->period_ns) + 1;
}

/* From *now_ns on: 0 at the deadline, 1 when asked to stop, or a negative errno. *now_ns is then when it was over. */
static int wait_until(struct np_sampler *sampler, int64_t deadline_ns, int64_t *now_ns)
{
	int64_t wake_ns = deadline_ns - sampler->options.spin_ns;
	int looks = 0;

	for (;; *now_ns = np_clock_monotonic(sampler->clock)) {
		int64_t until = wake_ns - *now_ns > NAP_NS ? *now_ns + NAP_NS : wake_ns;
		int err;

		if (atomic_load_explicit(&sampler->stop, memory_order_relaxed))
			return 1;
		if (*now_ns >= deadline_ns)
			return 0;
		if (*now_ns >= wake_ns || (wake_ns - *now_ns < SHORT_NS && looks++ < SHORT_LOOKS))
			continue;
		err = sampler->clock->sleep_until(sampler->clock, until);
		if (err && err != -EINTR)
			return err;
	}
}

static void count_readings(struct np_sampler *sampler, const struct np_reading *readings)
{
	for (uint32_t i = 0; i < sampler->ring->readings; i++) {
		if (readings[i].state == NP_MISSING)
			add(&sampler->errors[i * LOOP_ERRNOS + readings[i].error], 1);
	}
}

static void count_tick(struct np_sampler *sampler, uint64_t slot, int64_t t_ns, int64_t lateness_ns)
{
	add(&sampler->ticks, 1);
	add(&sampler->lateness[lateness_bin(lateness_ns)], 1);
	if (lateness_ns > atomic_load_explicit(&sampler->lateness_max_ns, memory_order_relaxed))
		atomic_store_explicit(&sampler->lateness_max_ns, lateness_ns, memory_order_relaxed);
	atomic_store_explicit(&sampler->last_slot, slot, memory_order_relaxed);
	atomic_store_explicit(&sampler->last_t_ns, t_ns, memory_order_relaxed);
}

static void run(struct np_sampler *sampler)
{
	struct np_ring *ring = sampler->ring;
	struct np_reading readings[RING_MAX_READINGS];
	int64_t now = np_clock_monotonic(sampler->clock);
	uint64_t slot = slot_after(ring, now);
	uint64_t next;
	int err;

	for (;; slot = next) {
		int64_t deadline = ring->t0_ns + (int64_t)slot * ring->period_ns;

		err = wait_until(sampler, deadline, &now);
		if (err)
			break;
		memset(readings, 0, ring->readings * sizeof(*readings));
		sampler->source->due_ns = deadline + ring->period_ns;
		sampler->source->ops->read(sampler->source, sampler->clock, now, readings);
		ring_publish(ring, slot, now, sampler->options.epoch, readings);
		count_readings(sampler, readings);
		count_tick(sampler, slot, now, now - deadline);
		now = np_clock_monotonic(sampler->clock);
		next = slot_after(ring, now);
		if (next <= slot)
			next = slot + 1;
		add(&sampler->missed_slots, next - slot - 1);
	}
	if (err < 0)
		atomic_store(&sampler->error, err);
}

static void *thread_main(void *arg)
{
	struct np_sampler *sampler = arg;
	struct timespec cpu;

	rights_take(sampler);
	sem_post(&sampler->ready);
	if (!sampler->start_error)
		run(sampler);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
	atomic_fetch_add(&sampler->thread_cpu_ns, (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec);
	return NULL;
}

/* ---- Lifecycle ------------------------------------------------------------------------------ */

int np_sampler_create(struct np_ring *ring, struct np_source *source, const struct np_sampler_options *options,
		      struct np_sampler **out)
{
	struct np_sampler *sampler;

	if (!ring || !source || !ring->writer)
		return -EBADF;
	if (ring->readings != source->readings || options->priority < 0 || options->priority > 99 ||
	    options->spin_ns < 0 || options->spin_ns > ring->period_ns / 2)
		return -EINVAL;
	sampler = calloc(1, sizeof(*sampler));
	if (!sampler)
		return -ENOMEM;
	sampler->errors = calloc((size_t)ring->readings * LOOP_ERRNOS, sizeof(*sampler->errors));
	if (!sampler->errors) {
		free(sampler);
		return -ENOMEM;
	}
	ring_hold(ring);
	source_hold(source);
	sampler->ring = ring;
	sampler->source = source;
	sampler->clock = &np_system_clock;
	sampler->options = *options;
	sampler->owner = getpid();
	pthread_mutex_init(&sampler->control, NULL);
	sem_init(&sampler->ready, 0, 0);
	*out = sampler;
	return 0;
}

void sampler_set_clock(struct np_sampler *sampler, const struct np_clock *clock)
{
	sampler->clock = clock;
}

static void drop_stack(struct np_sampler *sampler)
{
	rights_stack_free(sampler->stack, sampler->stack_bytes);
	sampler->stack = NULL;
}

static int create_thread(struct np_sampler *sampler, size_t stack_bytes)
{
	pthread_attr_t attr;
	int err;

	sampler->stack_bytes = stack_bytes;
	sampler->stack = rights_stack_make(stack_bytes);
	if (!sampler->stack)
		return -ENOMEM;
	pthread_attr_init(&attr);
	pthread_attr_setstack(&attr, (char *)sampler->stack + STACK_GUARD, stack_bytes - STACK_GUARD);
	err = -pthread_create(&sampler->thread, &attr, thread_main, sampler);
	pthread_attr_destroy(&attr);
	if (err)
		drop_stack(sampler);
	return err;
}

static int spawn(struct np_sampler *sampler)
{
	size_t bytes = STACK_BYTES;
	sigset_t all;
	sigset_t before;
	int err;

	/* Signals are the caller's business: the thread is born with all of them blocked. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* The thread-local storage of every library lies on the stack: a process with many needs a larger one. */
	do
		err = create_thread(sampler, bytes);
	while (err == -EINVAL && (bytes *= 2) <= STACK_MAX_BYTES);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (err)
		return err;
	pthread_setname_np(sampler->thread, "np-sampler");
	while (sem_wait(&sampler->ready))
		;
	return 0;
}

static void join(struct np_sampler *sampler)
{
	atomic_store(&sampler->stop, true);
	pthread_join(sampler->thread, NULL);
	drop_stack(sampler);
	sampler->started = false;
	atomic_store(&sampler->source->busy, false);
	atomic_store(&sampler->ring->busy, false);
}

/* Ring and source belong to the loop from here on. */
static int borrow(struct np_sampler *sampler)
{
	if (atomic_load(&sampler->ring->closed) || atomic_load(&sampler->source->closed))
		return -EBADF;
	if (atomic_exchange(&sampler->ring->busy, true))
		return -EBUSY;
	if (atomic_exchange(&sampler->source->busy, true)) {
		atomic_store(&sampler->ring->busy, false);
		return -EBUSY;
	}
	return 0;
}

static int start_locked(struct np_sampler *sampler)
{
	int err = sampler->started ? -EALREADY : borrow(sampler);

	if (err)
		return err;
	atomic_store(&sampler->stop, false);
	atomic_store(&sampler->error, 0);
	sampler->start_error = 0;
	sampler->lock_error = 0;
	sampler->locked_bytes = 0;
	if (sampler->source->ops->start)
		sampler->source->ops->start(sampler->source, np_clock_monotonic(sampler->clock));
	err = spawn(sampler);
	if (err) {
		atomic_store(&sampler->source->busy, false);
		atomic_store(&sampler->ring->busy, false);
		return err;
	}
	sampler->started = true;
	if (sampler->start_error)
		join(sampler);
	return sampler->start_error;
}

int np_sampler_start(struct np_sampler *sampler)
{
	int err;

	if (getpid() != sampler->owner)
		return -NP_EFORKED;
	pthread_mutex_lock(&sampler->control);
	err = start_locked(sampler);
	pthread_mutex_unlock(&sampler->control);
	return err;
}

int np_sampler_stop(struct np_sampler *sampler)
{
	if (getpid() != sampler->owner)
		return -NP_EFORKED;
	pthread_mutex_lock(&sampler->control);
	if (sampler->started)
		join(sampler);
	pthread_mutex_unlock(&sampler->control);
	return atomic_load(&sampler->error);
}

void np_sampler_destroy(struct np_sampler *sampler)
{
	if (!sampler || np_sampler_stop(sampler) == -NP_EFORKED)
		return;
	pthread_mutex_destroy(&sampler->control);
	sem_destroy(&sampler->ready);
	source_let_go(sampler->source);
	ring_let_go(sampler->ring);
	free(sampler->errors);
	free(sampler);
}

/* ---- Query ---------------------------------------------------------------------------------- */

static int64_t running_cpu_ns(struct np_sampler *sampler)
{
	struct timespec cpu;
	clockid_t id;

	/* The system call, so that the loop need not ask for it itself. */
	if (!sampler->started || pthread_getcpuclockid(sampler->thread, &id) || clock_gettime(id, &cpu))
		return 0;
	return (int64_t)cpu.tv_sec * 1000000000 + cpu.tv_nsec;
}

void np_sampler_stats(struct np_sampler *sampler, struct np_stats *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&sampler->control);
	out->ticks = atomic_load(&sampler->ticks);
	out->missed_slots = atomic_load(&sampler->missed_slots);
	out->last_slot = atomic_load(&sampler->last_slot);
	out->last_t_ns = atomic_load(&sampler->last_t_ns);
	out->lateness_max_ns = atomic_load(&sampler->lateness_max_ns);
	out->error = atomic_load(&sampler->error);
	/* A loop that ended by itself has added its time already; its clock is gone. */
	out->thread_cpu_ns = atomic_load(&sampler->thread_cpu_ns);
	if (!out->error)
		out->thread_cpu_ns += running_cpu_ns(sampler);
	out->underruns = np_source_underruns(sampler->source);
	out->locked_bytes = sampler->locked_bytes;
	out->policy = sampler->policy;
	out->cpu = sampler->options.cpu;
	out->lock_error = sampler->lock_error;
	out->running = sampler->started && !out->error;
	pthread_mutex_unlock(&sampler->control);
}

void np_sampler_lateness(const struct np_sampler *sampler, uint64_t *counts)
{
	for (uint32_t bin = 0; bin < NP_LATENESS_BINS; bin++)
		counts[bin] = atomic_load_explicit(&sampler->lateness[bin], memory_order_relaxed);
}

int np_sampler_errors(const struct np_sampler *sampler, uint32_t reading, uint64_t *counts)
{
	if (reading >= sampler->ring->readings)
		return -EINVAL;
	for (uint32_t err = 0; err < LOOP_ERRNOS; err++)
		counts[err] = atomic_load_explicit(&sampler->errors[reading * LOOP_ERRNOS + err], memory_order_relaxed);
	return 0;
}
