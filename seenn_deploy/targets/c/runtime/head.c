/* Buffers that are not needed together share memory, in a union. gcc takes the address of all of
   them for that of one, and then warns of writes behind the end of that one. */
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 7
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif

#define NET_LIMIT 8388608 /* potentials and synaptic currents stay below it, on both sides */
