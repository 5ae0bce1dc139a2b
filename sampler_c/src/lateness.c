/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lateness.c - the histogram's bins
 *
 * In units of 64 ns: sixteen bins of one unit, then sixteen to each doubling. That is 6 % of resolution
 * from 1 us to 1 s in 2.8 KB.
 */
#include "loop.h"

uint32_t lateness_bin(int64_t lateness_ns)
{
	uint64_t units = lateness_ns < 0 ? 0 : (uint64_t)lateness_ns >> 6;
	uint32_t doublings;
	uint64_t bin;

	if (units < 16)
		return (uint32_t)units;
	doublings = 59 - (uint32_t)__builtin_clzll(units); /* so that 16 <= units >> doublings < 32 */
	bin = 16 * (uint64_t)doublings + (units >> doublings);
	return bin < NP_LATENESS_BINS ? (uint32_t)bin : NP_LATENESS_BINS - 1;
}

int64_t np_lateness_edge(uint32_t bin)
{
	if (bin < 16)
		return (int64_t)bin << 6;
	return (int64_t)(16 + bin % 16) << (bin / 16 - 1 + 6);
}
