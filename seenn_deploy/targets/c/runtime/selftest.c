/* ${about}

   Runs a few inputs and compares class, exit step, logits and a checksum of all potentials with
   what the compiler computed. Prints what failed; returns how many did. */
#include <stdio.h>

#include "net.h"

#define NET_TESTS ${tests}

typedef struct {
    uint32_t class;
    uint32_t exit_step;
    uint32_t checksum;
    int64_t z[NET_CLASSES];
} net_expected_t;

static const net_expected_t net_expected[NET_TESTS] = {
${expected}
};
static net_t net_state;
static net_input_t net_frame[NET_FRAME_SIZE];

/* A value of an input that is made up, the same on every machine. */
static net_input_t net_made_up(uint32_t test, uint32_t place)
{
    uint32_t bits = place * 2654435761u + test * 40503u + 12345u;
    bits = (bits ^ bits >> 15) * 2246822519u;
    bits = (bits ^ bits >> 13) >> 8;
    return ${made_up};
}

static uint32_t net_checksum(void)
{
    uint32_t total = 0;
${checksums}    return total;
}

static int net_differs(const char *what, uint32_t test, int64_t found, int64_t expected)
{
    if (found == expected) {
        return 0;
    }
    (void)printf("input %lu: %s is %ld, expected %ld\n", (unsigned long)test, what, (long)found,
                 (long)expected);
    return 1;
}

int main(void)
{
    int failed = 0;
    for (uint32_t test = 0; test < NET_TESTS; ++test) {
        const net_expected_t *expected = &net_expected[test];
        uint32_t checksum = 0;
        int found = NET_GO_ON;
        net_begin(&net_state);
        while (found == NET_GO_ON) {
            const uint32_t first = NET_FRAMES == 1 ? 0u : net_state.t * NET_FRAME_SIZE;
            for (uint32_t i = 0; i < NET_FRAME_SIZE; ++i) {
                net_frame[i] = net_made_up(test, first + i);
            }
            found = net_step(&net_state, net_frame, NET_FRAME_SIZE);
            checksum = checksum * 31u + net_checksum();
        }
        failed += net_differs("the answer", test, found, NET_STOP);
        failed += net_differs("the class", test, net_class(&net_state), expected->class);
        failed += net_differs("the exit step", test, net_state.t, expected->exit_step);
        failed += net_differs("the checksum of potentials", test, checksum, expected->checksum);
        for (uint32_t i = 0; i < NET_CLASSES; ++i) {
            failed += net_differs("a logit", test, net_state.z[i], expected->z[i]);
        }
    }
    (void)printf("%d inputs, %d differences\n", NET_TESTS, failed);
    return failed;
}
