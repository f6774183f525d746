/* The exit rule: every sample takes all timesteps. */
static int net_confident(const net_t *net)
{
    (void)net;
    return 0;
}
