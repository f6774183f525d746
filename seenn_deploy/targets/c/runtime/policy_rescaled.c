/* p / 2^shift, rounded to the nearest, halves away from zero, between low and high. */
static int32_t net_policy_rescaled(int64_t p, uint32_t shift, int32_t low, int32_t high)
{
    const int64_t half = ((int64_t)1 << shift) >> 1;
    const int64_t y = p < 0 ? -((half - p) >> shift) : (half + p) >> shift;
    return y < low ? low : y > high ? high : (int32_t)y;
}
