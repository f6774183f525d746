/* Runs the dense network on each sample of samples.bin and prints its ticks and its logits:

   ann SAMPLE TICKS LOGIT.. */
#include <stdint.h>
#include <stdio.h>

#include "meter.h"

void ann(const uint8_t image[1][CHANNELS][HEIGHT][WIDTH], int32_t logits[1][CLASSES]);

static uint8_t image[1][CHANNELS][HEIGHT][WIDTH];
static int32_t logits[1][CLASSES];

int main(void)
{
    FILE *samples = fopen("samples.bin", "rb");
    uint32_t sample = 0;
    if (samples == NULL) {
        return 1;
    }
    meter_start();
    while (fread(image, 1, sizeof image, samples) == sizeof image) {
        const uint32_t from = meter_ticks();
        uint32_t end;
        ann((const uint8_t(*)[CHANNELS][HEIGHT][WIDTH])image, logits);
        end = meter_ticks();
        printf("ann %lu %lu", (unsigned long)sample++, (unsigned long)(end - from));
        for (uint32_t i = 0; i < CLASSES; ++i) {
            printf(" %ld", (long)logits[0][i]);
        }
        printf("\n");
    }
    return 0;
}
