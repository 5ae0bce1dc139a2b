/* SPDX-License-Identifier: Apache-2.0 */
/*
 * model.h - between the scenarios over the ring's source (protocol.c) and the two engines that run them
 *
 * relacy.cpp     Relacy Race Detector: random schedules and random admissible values, an independent judge
 * exhaustive.c   every value that the C11 rules admit for every load, so nothing is left to chance
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum model_order { MODEL_RELAXED, MODEL_ACQUIRE, MODEL_RELEASE };

enum {
	MODEL_WORDS = 48, /* different shared words that one scenario touches */
	MODEL_READERS = 2
};

/* What an engine gives. A word that was never stored holds 0, as in a new file. */
uint64_t model_load(const uint64_t *word, enum model_order order);
void model_store(uint64_t *word, uint64_t value, enum model_order order);
/* Any of 0 .. n-1. */
unsigned model_choose(unsigned n);
/* Ends the execution, and with it the search, where what must hold does not. */
void model_expect(bool holds, const char *otherwise);

/*
 * What protocol.c gives. setup happens before everything else, as a file is whole before it is renamed
 * to where readers find it. Threads share nothing but the ring.
 */
struct scenario {
	const char *name;
	void (*setup)(void);
	void (*writer)(void);
	void (*reader)(void);
};

extern const struct scenario scenarios[];
extern const size_t scenario_count;
/* A number below MODEL_WORDS for the word, always the same. */
unsigned protocol_word(const uint64_t *word);

#ifdef __cplusplus
}
#endif
#endif
