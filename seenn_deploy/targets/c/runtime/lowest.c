/* The place of the lowest 1 among bits that are not all 0. */
static uint32_t net_lowest(uint32_t bits)
{
#if defined(__GNUC__)
    return (uint32_t)__builtin_ctzl((unsigned long)bits);
#else
    uint32_t place = 0;
    while ((bits >> place & 1u) == 0u) {
        ++place;
    }
    return place;
#endif
}
