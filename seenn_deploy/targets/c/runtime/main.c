/* ${about}

   Answers samples: on standard input and output, or with NET_FILES in the files request.bin and
   answer.bin, as under an emulator with semihosting. All numbers have their lowest byte first.

   request: one byte of flags (1: run to the last timestep), the number of values (4 bytes), values:
            of a network that takes a frame at every timestep perhaps fewer frames than timesteps
   answer:  'P' layer (4 bytes), its masks of spikes (4 bytes for 32 neurons), its potentials
            (4 bytes each), with NET_TRACE alone
            'K' scores of the policy network (4 bytes each), before the first 'L', where there is
            one
            'L' logits (8 bytes each), after every timestep
            'A' class, timestep of the exit, timesteps that ran (4 bytes each): the sample is done
            'E' error (4 bytes, see net.h): the sample is refused */
#include <stdio.h>

#include "net.h"

static FILE *net_requests;
static FILE *net_answers;
static net_t net_state;
static net_input_t net_frame[NET_FRAME_SIZE];

static int net_get(uint64_t *value, uint32_t bytes)
{
    *value = 0;
    for (uint32_t i = 0; i < bytes; ++i) {
        const int byte = getc(net_requests);
        if (byte == EOF) {
            return 0;
        }
        *value |= (uint64_t)byte << 8u * i;
    }
    return 1;
}

static void net_put(uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; ++i) {
        (void)putc((int)(value >> 8u * i & 0xffu), net_answers);
    }
}

static void net_refuse(int error)
{
    (void)putc('E', net_answers);
    net_put((uint64_t)(int64_t)error, 4);
}

${trace}/* Reads a frame; 0 where the request ends before it. */
static int net_read_frame(void)
{
    for (uint32_t i = 0; i < NET_FRAME_SIZE; ++i) {
        uint64_t value;
        if (!net_get(&value, sizeof net_frame[0])) {
            return 0;
        }
        net_frame[i] = (net_input_t)value;
    }
    return 1;
}

/* Reads values that nobody needs; 0 where the request ends before them. */
static int net_skip(uint32_t values)
{
    uint64_t value;
    while (values != 0u && net_get(&value, sizeof net_frame[0])) {
        --values;
    }
    return values == 0u;
}

/* Answers one sample; 0 where there is none, or where it ends too early. */
static int net_answer(void)
{
    uint64_t flags;
    uint64_t count;
    uint32_t read = 0;
    uint32_t frames;
    uint32_t exit_step = 0;
    int found = NET_GO_ON;
    if (!net_get(&flags, 1)) {
        return 0;
    }
    if (!net_get(&count, 4)) {
        net_refuse(NET_ERROR_SIZE);
        return 0;
    }
    if (count == 0u || count % NET_FRAME_SIZE != 0u || count > NET_FRAMES * NET_FRAME_SIZE) {
        net_refuse(NET_ERROR_SIZE);
        return net_skip((uint32_t)count);
    }
    frames = (uint32_t)(count / NET_FRAME_SIZE);
    net_begin(&net_state);
    while (net_state.t < NET_TIMESTEPS && (exit_step == 0u || (flags & 1u) != 0u)) {
        if (read == frames && NET_FRAMES != 1) {
            break; /* the signal has ended */
        }
        if (read < frames) {
            if (!net_read_frame()) {
                net_refuse(NET_ERROR_SIZE);
                return 0;
            }
            ++read;
        }
        found = net_step(&net_state, net_frame, NET_FRAME_SIZE);
        if (found < 0) {
            net_refuse(found);
            return net_skip((frames - read) * NET_FRAME_SIZE);
        }
#ifdef NET_CHOICES
        for (uint32_t i = 0; i < NET_CHOICES && net_state.t == 1u; ++i) {
            if (i == 0u) {
                (void)putc('K', net_answers);
            }
            net_put((uint64_t)(int64_t)net_state.scores[i], 4);
        }
#endif
        (void)putc('L', net_answers);
        for (uint32_t i = 0; i < NET_CLASSES; ++i) {
            net_put((uint64_t)(int64_t)net_state.z[i], 8);
        }
        if (found == NET_STOP && exit_step == 0u) {
            exit_step = net_state.t;
        }
    }
    if (exit_step == 0u) {
        exit_step = net_state.t;
    }
    (void)putc('A', net_answers);
    net_put(net_class(&net_state), 4);
    net_put(exit_step, 4);
    net_put(net_state.t, 4);
    return net_skip((frames - read) * NET_FRAME_SIZE);
}

int main(void)
{
#ifdef NET_FILES
    net_requests = fopen("request.bin", "rb");
    net_answers = fopen("answer.bin", "wb");
    if (net_requests == NULL || net_answers == NULL) {
        return 1;
    }
#else
    net_requests = stdin;
    net_answers = stdout;
#endif
    while (net_answer()) {
        (void)fflush(net_answers);
    }
    return fclose(net_answers) == 0 ? 0 : 1;
}
