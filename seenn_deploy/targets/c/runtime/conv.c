/* One event behind a convolution: it reaches every pixel that has it under one of its taps. */
static void net_conv_${weight}_${sum}(const net_conv_t *conv, const ${weight}_t *weight,
                                      uint32_t at, int32_t value, ${sum}_t *sums)
{
    const uint32_t pixel = at / conv->channels;
    const uint32_t channel = at % conv->channels;
    const uint32_t group = channel / conv->group_channels;
    const int32_t y = (int32_t)(pixel / conv->width) + conv->padding_y;
    const int32_t x = (int32_t)(pixel % conv->width) + conv->padding_x;
    weight += channel * (uint32_t)(conv->kernel_y * conv->kernel_x) * conv->group_outs;
    sums += group * conv->group_outs;
    for (int32_t ky = 0; ky < conv->kernel_y; ++ky) {
        const int32_t down = y - ky * conv->dilation_y;
        const int32_t row = down / conv->stride_y;
        if (down < 0 || down % conv->stride_y != 0 || row >= conv->out_height) {
            continue;
        }
        for (int32_t kx = 0; kx < conv->kernel_x; ++kx) {
            const int32_t right = x - kx * conv->dilation_x;
            const int32_t column = right / conv->stride_x;
            if (right < 0 || right % conv->stride_x != 0 || column >= conv->out_width) {
                continue;
            }
            net_row_${weight}_${sum}(
                sums + (uint32_t)(row * conv->out_width + column) * conv->out_channels,
                weight + (uint32_t)(ky * conv->kernel_x + kx) * conv->group_outs,
                conv->group_outs, value);
        }
    }
}
