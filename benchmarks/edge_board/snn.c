/* Runs each sample of samples.bin to T and prints the ticks by timestep and layer:

   layer SAMPLE t LAYER TICKS   from the layer before, or the timestep's begin, to its spikes
   rest SAMPLE t TICKS STOP     from the last layer to the timestep's end: readout and exit rule
   empty TICKS                  of such an interval with nothing in it */
#include <stdio.h>

#include "meter.h"
#include "net.h"

static net_t net;
static net_input_t frames[NET_FRAMES * NET_FRAME_SIZE];
static uint32_t ticks[64];
static uint32_t layers[64];
static uint32_t marks;
static uint32_t from;

void net_trace(const net_t *state, uint32_t layer, const uint32_t *sent)
{
    const uint32_t now = meter_ticks();
    (void)state;
    (void)sent;
    ticks[marks] = now - from;
    layers[marks++] = layer;
    from = meter_ticks();
}

int main(void)
{
    FILE *samples = fopen("samples.bin", "rb");
    uint32_t sample = 0;
    if (samples == NULL) {
        return 1;
    }
    meter_start();
    from = meter_ticks();
    net_trace(&net, 0, NULL);
    net_trace(&net, 0, NULL);
    printf("empty %lu\n", (unsigned long)ticks[1]);
    while (fread(frames, 1, sizeof frames, samples) == sizeof frames) {
        net_begin(&net);
        while (net.t < NET_TIMESTEPS) {
            const uint32_t at = NET_FRAMES == 1 ? 0u : net.t;
            int stop;
            uint32_t end;
            marks = 0;
            from = meter_ticks();
            stop = net_step(&net, frames + at * NET_FRAME_SIZE, NET_FRAME_SIZE);
            end = meter_ticks();
            for (uint32_t i = 0; i < marks; ++i) {
                printf("layer %lu %lu %lu %lu\n", (unsigned long)sample, (unsigned long)net.t,
                       (unsigned long)layers[i], (unsigned long)ticks[i]);
            }
            printf("rest %lu %lu %lu %d\n", (unsigned long)sample, (unsigned long)net.t,
                   (unsigned long)(end - from), stop);
        }
        ++sample;
    }
    return 0;
}
