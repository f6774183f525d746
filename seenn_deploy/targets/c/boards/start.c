/* Start-up of a Cortex-M under QEMU: memory as C expects it, then main, whose result QEMU returns. */
#include <stdint.h>

extern uint32_t _sidata, _sdata, _edata, _sbss, _ebss;
extern void _estack(void); /* an address, of which C need not know more */
extern void initialise_monitor_handles(void);
extern void _exit(int);
int main(void);

void Reset_Handler(void)
{
    const uint32_t *from = &_sidata;
    for (uint32_t *to = &_sdata; to < &_edata;) {
        *to++ = *from++;
    }
    for (uint32_t *to = &_sbss; to < &_ebss;) {
        *to++ = 0;
    }
    initialise_monitor_handles();
    _exit(main());
}

void Fault_Handler(void)
{
    _exit(3);
}

__attribute__((section(".isr_vector"), used)) void (*const vectors[])(void) = {
    _estack, Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler,
    Fault_Handler,
};
