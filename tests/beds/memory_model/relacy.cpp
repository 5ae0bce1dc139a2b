// SPDX-License-Identifier: Apache-2.0
// relacy.cpp - the scenarios under Relacy: a writer and two readers, random schedules and random stale values
//
// argv[1]: executions of each scenario. Relacy keeps the three newest values of a word.
#include <cstdlib>
#include <iostream>

#include <relacy/relacy.hpp>

#include "model.h"

namespace {

const scenario *current;
const char *failure;
rl::atomic<uint64_t> *words;

rl::memory_order relacys(model_order order)
{
	return order == MODEL_RELAXED ? rl::mo_relaxed : order == MODEL_ACQUIRE ? rl::mo_acquire : rl::mo_release;
}

struct ring_test : rl::test_suite<ring_test, 1 + MODEL_READERS> {
	rl::atomic<uint64_t> memory[MODEL_WORDS];
	rl::atomic<int> elsewhere;

	void before()
	{
		words = memory;
		for (auto &word : memory)
			word.store(0, rl::mo_relaxed, $);
		elsewhere.store(0, rl::mo_relaxed, $);
		current->setup();
	}

	void thread(unsigned number)
	{
		if (number == 0) {
			current->writer();
			return;
		}
		// The scheduler is fair: without this, no reader would ever begin late.
		for (unsigned steps = rl::rand(2) * rl::rand(60); steps > 0; steps--)
			elsewhere.load(rl::mo_relaxed, $);
		current->reader();
	}
};

} // namespace

uint64_t model_load(const uint64_t *word, model_order order)
{
	return words[protocol_word(word)].load(relacys(order), $);
}

void model_store(uint64_t *word, uint64_t value, model_order order)
{
	words[protocol_word(word)].store(value, relacys(order), $);
}

unsigned model_choose(unsigned n)
{
	return rl::rand(n);
}

void model_expect(bool holds, const char *otherwise)
{
	if (holds)
		return;
	failure = otherwise;
	RL_ASSERT(false);
}

int main(int argc, char **argv)
{
	for (size_t i = 0; i < scenario_count; i++) {
		rl::test_params params;

		params.iteration_count = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 10000;
		params.output_stream = params.progress_stream = &std::cerr;
		current = &scenarios[i];
		bool good = rl::simulate<ring_test>(params);

		std::cout << current->name << '|' << params.stop_iteration << '|';
		if (!good)
			std::cout << (failure ? failure : rl::test_result_str(params.test_result));
		std::cout << std::endl;
		if (!good)
			return 1;
	}
	return 0;
}
