/* SPDX-License-Identifier: Apache-2.0 */
/* draw.h - random numbers as functions of a seed and a position, so that when they are drawn does not matter */
#ifndef NP_DRAW_H
#define NP_DRAW_H

#include <math.h>
#include <stdint.h>

/* splitmix64's output function (Steele, Lea, Flood 2014) */
static inline uint64_t draw_bits(uint64_t seed, uint64_t number)
{
	uint64_t x = seed ^ number * UINT64_C(0x9e3779b97f4a7c15);

	for (int round = 0; round < 2; round++) {
		x += UINT64_C(0x9e3779b97f4a7c15);
		x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
		x ^= x >> 31;
	}
	return x;
}

/* 0 <= u < 1 */
static inline double draw_uniform(uint64_t seed, uint64_t number)
{
	return (double)(draw_bits(seed, number) >> 11) * 0x1p-53;
}

/*
 * Mean 0, deviation 1, close to normal: the sum of four uniforms of 16 bits has variance 4/12. It never lies beyond 3.46
 * deviations, where a normal number does once in 1,900 times: kinder than the world (docs/virtual-device.md).
 */
static inline double draw_deviate(uint64_t seed, uint64_t number)
{
	uint64_t bits = draw_bits(seed, number);
	double sum = 0;

	for (int i = 0; i < 4; i++)
		sum += (double)(bits >> 16 * i & 0xffff) + 0.5;
	return (sum / 65536 - 2) * sqrt(3.0);
}

#endif
