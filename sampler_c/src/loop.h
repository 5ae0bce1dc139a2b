/* SPDX-License-Identifier: Apache-2.0 */
/* loop.h - what the sampler's own files, and its tests, know of it */
#ifndef NP_LOOP_H
#define NP_LOOP_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "clock.h"
#include "ring.h"
#include "sampler.h"
#include "source.h"

enum { LOOP_ERRNOS = 256 };

struct np_sampler {
	struct np_ring *ring;
	struct np_source *source;
	const struct np_clock *clock;
	struct np_sampler_options options;

	/* start, stop and stats against each other; the loop never takes it */
	pthread_mutex_t control;
	pthread_t thread;
	bool started;
	pid_t owner;		/* the process that may use it */
	void *stack;
	size_t stack_bytes;
	sem_t ready;

	/* Set by the thread before it posts ready, constant after. */
	int policy;
	int start_error;
	int lock_error;
	uint64_t locked_bytes;

	atomic_bool stop;
	/* Written by the loop alone, read by anyone. */
	_Atomic int error;
	_Atomic uint64_t ticks;
	_Atomic uint64_t missed_slots;
	_Atomic uint64_t last_slot;
	_Atomic int64_t last_t_ns;
	_Atomic int64_t lateness_max_ns;
	_Atomic int64_t thread_cpu_ns;	/* of threads that have ended */
	_Atomic uint64_t lateness[NP_LATENESS_BINS];
	_Atomic uint64_t *errors;	/* readings * LOOP_ERRNOS */
};

/* Another clock, before start: for tests. */
void sampler_set_clock(struct np_sampler *sampler, const struct np_clock *clock);

/* rights.c: what the thread asks of the kernel before its first deadline. Called in the thread. */
void rights_take(struct np_sampler *sampler);
void *rights_stack_make(size_t bytes);
void rights_stack_free(void *stack, size_t bytes);

#ifndef STACK_BYTES
#define STACK_BYTES (256 * 1024)
#endif

enum { STACK_MAX_BYTES = 8 * 1024 * 1024, STACK_GUARD = 64 * 1024 };

/* lateness.c */
uint32_t lateness_bin(int64_t lateness_ns);

#endif
