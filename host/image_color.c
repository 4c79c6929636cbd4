/* Pixels in a grey or CMYK colour profile to sRGB; the only file that knows lcms2.
 * RGB profiles are not converted: they are carried from the file that is read to the file that is written. */
#include "image_codec.h"

#include <lcms2.h>
#include <stdlib.h>

struct color_conversion {
    cmsHTRANSFORM transform; /* to 16-bit sRGB */
    size_t pixel_bytes;      /* of the input */
};

/* Pixels converted at a time: small enough for the stack, large enough that the call does not matter. */
#define BATCH 256

enum color_space color_space_of(const unsigned char *icc, size_t icc_bytes)
{
    enum color_space space = COLOR_OTHER;

    if (icc_bytes > UINT32_MAX)
        return COLOR_OTHER;
    cmsHPROFILE profile = cmsOpenProfileFromMem(icc, (cmsUInt32Number)icc_bytes);
    if (!profile)
        return COLOR_OTHER;
    cmsColorSpaceSignature signature = cmsGetColorSpace(profile);
    if (signature == cmsSigGrayData)
        space = COLOR_GREY;
    else if (signature == cmsSigRgbData)
        space = COLOR_RGB;
    else if (signature == cmsSigCmykData)
        space = COLOR_CMYK;
    cmsCloseProfile(profile);
    return space;
}

/* lcms2's description of a pixel, or 0 where a profile of this space does not describe such pixels. */
static cmsUInt32Number pixel_format(enum color_space space, int channels, int sample_bytes)
{
    cmsUInt32Number bytes = BYTES_SH((cmsUInt32Number)sample_bytes);

    if (space == COLOR_GREY)
        return COLORSPACE_SH(PT_GRAY) | CHANNELS_SH(1) | EXTRA_SH((cmsUInt32Number)channels - 1) | bytes;
    if (space == COLOR_CMYK && channels == 4)
        return COLORSPACE_SH(PT_CMYK) | CHANNELS_SH(4) | FLAVOR_SH(1) | bytes;
    return 0;
}

struct color_conversion *color_open(const unsigned char *icc, size_t icc_bytes, int channels, int sample_bytes)
{
    cmsUInt32Number format = pixel_format(color_space_of(icc, icc_bytes), channels, sample_bytes);
    if (!format)
        return NULL;

    struct color_conversion *conversion = calloc(1, sizeof *conversion);
    cmsHPROFILE profile = cmsOpenProfileFromMem(icc, (cmsUInt32Number)icc_bytes);
    cmsHPROFILE srgb = cmsCreate_sRGBProfile();
    if (conversion && profile && srgb) {
        conversion->pixel_bytes = (size_t)channels * (size_t)sample_bytes;
        conversion->transform =
            cmsCreateTransform(profile, format, srgb, TYPE_RGB_16, INTENT_PERCEPTUAL, cmsFLAGS_HIGHRESPRECALC);
    }
    if (profile)
        cmsCloseProfile(profile);
    if (srgb)
        cmsCloseProfile(srgb);
    if (conversion && !conversion->transform) {
        free(conversion);
        return NULL;
    }
    return conversion;
}

void color_convert(const struct color_conversion *conversion, const void *samples, size_t pixels, float *x)
{
    const unsigned char *in = samples;
    uint16_t rgb[3 * BATCH];

    for (size_t done = 0; done < pixels; done += BATCH) {
        size_t count = pixels - done < BATCH ? pixels - done : BATCH;
        cmsDoTransform(conversion->transform, in + done * conversion->pixel_bytes, rgb, (cmsUInt32Number)count);
        image_row_load16(rgb, 3, count, x + 3 * done, NULL);
    }
}

void color_close(struct color_conversion *conversion)
{
    if (!conversion)
        return;
    cmsDeleteTransform(conversion->transform);
    free(conversion);
}
