/* Standard input and output of newlib on a serial line, for main.c on a board: here on UART 0 of Arm's
   MPS2 boards (CMSDK APB UART, Arm DDI 0479). Another board needs its own three functions at the top.
   Linked with --specs=nosys.specs in place of semihosting. */
#include <stdint.h>

typedef struct {
    volatile uint32_t data, state, control, interrupt, divisor;
} uart_t;

#define UART ((uart_t *)0x40004000u)
#define TX_FULL 1u
#define RX_FULL 2u

static void uart_start(void)
{
    UART->divisor = 217u; /* of 25 MHz: 115200 baud */
    UART->control = 3u;   /* transmitter and receiver */
}

static void uart_put(uint8_t byte)
{
    while ((UART->state & TX_FULL) != 0u) {
    }
    UART->data = byte;
}

static uint8_t uart_get(void)
{
    while ((UART->state & RX_FULL) == 0u) {
    }
    return (uint8_t)UART->data;
}

void initialise_monitor_handles(void)
{
    uart_start();
}

int _write(int file, const char *bytes, int count)
{
    (void)file;
    for (int i = 0; i < count; ++i) {
        uart_put((uint8_t)bytes[i]);
    }
    return count;
}

/* A byte at a time: who asks for more would wait for the next sample before answering this one. */
int _read(int file, char *bytes, int count)
{
    (void)file;
    if (count > 0) {
        bytes[0] = (char)uart_get();
    }
    return count > 0 ? 1 : 0;
}
