/* Instructions of an emulated MPS2 board. Under `-icount shift=6` each takes 64 ns of QEMU's time, and
   timer 0 (CMSDK APB timer, Arm DDI 0479) counts 25 MHz down: 1.6 ticks an instruction, so that a
   difference of counts tells them to one. It wraps after 2.6 * 10^9 of them. */
#ifndef METER_H
#define METER_H

#include <stdint.h>

#define METER_TIMER ((volatile uint32_t *)0x40000000u)

static inline void meter_start(void)
{
    METER_TIMER[2] = UINT32_MAX; /* reload */
    METER_TIMER[1] = UINT32_MAX; /* value */
    METER_TIMER[0] = 1u;         /* enable */
}

/* Ticks until now; a difference of two is right across a wrap. */
static inline uint32_t meter_ticks(void)
{
    return UINT32_MAX - METER_TIMER[1];
}

#endif
