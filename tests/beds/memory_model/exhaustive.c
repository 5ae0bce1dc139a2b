/* SPDX-License-Identifier: Apache-2.0 */
/*
 * exhaustive.c - every execution of a scenario that C11 admits
 *
 * Readers never store. So the order of stores to a word is the writer's program order, no reader changes
 * what the writer or another reader does, and an execution is given by which store each load of one reader
 * takes its value from. All of them are tried, depth first: any store not older than what happened
 * before the load (coherence). Each store carries a view, the newest store of every word that happened
 * before it; an acquire load of a release store takes the view over. A relaxed store carries only itself:
 * no release sequence, as C++20 has it, which admits more than C11 does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

enum { MOST_STORES = 64, MOST_CHOICES = 128 };

typedef uint8_t view[MODEL_WORDS];

static struct store {
	uint64_t value;
	view before;
} stores[MODEL_WORDS][MOST_STORES];
static uint8_t newest[MODEL_WORDS];
static view mine; /* of the thread that runs */
static bool reading;

static struct {
	unsigned taken, of;
} choices[MOST_CHOICES];
static unsigned depth, known;

static const char *failure;

unsigned model_choose(unsigned n)
{
	if (depth == MOST_CHOICES)
		abort();
	if (depth == known) {
		choices[known].taken = 0;
		choices[known++].of = n;
	}
	return choices[depth++].taken;
}

/* The next execution in depth-first order; false after the last. */
static bool advance(void)
{
	while (known && choices[known - 1].taken + 1 == choices[known - 1].of)
		known--;
	if (known)
		choices[known - 1].taken++;
	depth = 0;
	return known > 0;
}

void model_expect(bool holds, const char *otherwise)
{
	if (!holds && !failure)
		failure = otherwise;
}

static void join(view into, const view other)
{
	for (int i = 0; i < MODEL_WORDS; i++)
		into[i] = into[i] > other[i] ? into[i] : other[i];
}

uint64_t model_load(const uint64_t *word, enum model_order order)
{
	unsigned at = protocol_word(word);
	unsigned choice = reading ? model_choose(newest[at] - mine[at] + 1u) : 0;
	const struct store *from = &stores[at][newest[at] - choice];

	mine[at] = (uint8_t)(newest[at] - choice);
	if (order == MODEL_ACQUIRE)
		join(mine, from->before);
	return from->value;
}

void model_store(uint64_t *word, uint64_t value, enum model_order order)
{
	unsigned at = protocol_word(word);
	struct store *store;

	if (reading || newest[at] + 1 == MOST_STORES)
		abort();
	mine[at] = ++newest[at];
	store = &stores[at][newest[at]];
	store->value = value;
	memset(store->before, 0, sizeof(view));
	if (order == MODEL_RELEASE)
		memcpy(store->before, mine, sizeof(view));
	store->before[at] = mine[at];
}

static void execute(const struct scenario *scenario)
{
	view beginning;

	memset(newest, 0, sizeof(newest));
	memset(mine, 0, sizeof(mine));
	reading = false;
	scenario->setup();
	memcpy(beginning, mine, sizeof(view));
	scenario->writer();
	memcpy(mine, beginning, sizeof(view));
	reading = true;
	scenario->reader();
}

int main(void)
{
	for (size_t i = 0; i < scenario_count; i++) {
		unsigned long executions = 0;

		known = depth = 0;
		do {
			execute(&scenarios[i]);
			executions++;
		} while (!failure && advance());
		printf("%s|%lu|%s\n", scenarios[i].name, executions, failure ? failure : "");
		if (failure)
			return 1;
	}
	return 0;
}
