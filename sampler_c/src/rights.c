/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rights.c - real time, with manners
 *
 * The thread asks for SCHED_FIFO, a CPU and memory that stays. It locks three ranges and nothing else of
 * the process: its stack, the code of this library, the ring. A refusal is written down, not fatal;
 * only a CPU that was asked for by number must be given.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <link.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>

#include "loop.h"

/* ---- Stack ---------------------------------------------------------------------------------- */

void *rights_stack_make(size_t bytes)
{
	void *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);

	if (stack == MAP_FAILED)
		return NULL;
	mprotect(stack, STACK_GUARD, PROT_NONE);
	return stack;
}

void rights_stack_free(void *stack, size_t bytes)
{
	if (stack)
		munmap(stack, bytes);
}

/* ---- Memory --------------------------------------------------------------------------------- */

struct range {
	uintptr_t begin;
	size_t bytes;
};

/* The executable segment that holds this very function. */
static int find_code(struct dl_phdr_info *info, size_t size, void *out)
{
	uintptr_t here = (uintptr_t)&rights_take;

	(void)size;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uintptr_t begin = info->dlpi_addr + segment->p_vaddr;

		if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_X))
			continue;
		if (here < begin || here >= begin + segment->p_memsz)
			continue;
		*(struct range *)out = (struct range){ begin, segment->p_memsz };
		return 1;
	}
	return 0;
}

static void lock_range(struct np_sampler *sampler, struct range range)
{
	if (!range.bytes)
		return;
	if (mlock((const void *)range.begin, range.bytes))
		sampler->lock_error = -errno;
	else
		sampler->locked_bytes += range.bytes;
}

/* Fault every page of the ring in for writing; what is in it stays. */
static void touch_ring(struct np_ring *ring)
{
	shared_u64 *words = (shared_u64 *)ring->header;

	for (size_t at = 0; at < ring->bytes / 8; at += 512)
		atomic_fetch_or_explicit(&words[at], 0, memory_order_relaxed);
}

static void lock_memory(struct np_sampler *sampler)
{
	struct range code = { 0, 0 };

	dl_iterate_phdr(find_code, &code);
	/* The small ones first: a limit that is too low for the ring still holds them. */
	lock_range(sampler, (struct range){ (uintptr_t)sampler->stack + STACK_GUARD, sampler->stack_bytes - STACK_GUARD });
	lock_range(sampler, code);
	lock_range(sampler, (struct range){ (uintptr_t)sampler->ring->header, sampler->ring->bytes });
}

/* ---- Scheduling ----------------------------------------------------------------------------- */

static int take_fifo(int priority)
{
	struct sched_param param = { .sched_priority = priority };

	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param))
		return -errno;
	return priority;
}

static int take_cpu(int cpu)
{
	cpu_set_t set;

	if (cpu >= CPU_SETSIZE)
		return -NP_ECPU;
	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -NP_ECPU : 0;
}

void rights_take(struct np_sampler *sampler)
{
	if (sampler->options.cpu >= 0)
		sampler->start_error = take_cpu(sampler->options.cpu);
	sampler->policy = sampler->options.priority > 0 ? take_fifo(sampler->options.priority) : 0;
	touch_ring(sampler->ring);
	if (sampler->options.lock_memory)
		lock_memory(sampler);
}
