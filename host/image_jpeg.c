/* JPEG files: grey, YCbCr, RGB, CMYK and YCCK to floats, the right way up; floats to 4:4:4 YCbCr. The only file
 * that knows libjpeg and libexif. Metadata other than orientation and colour profile is not carried over; the
 * comment is written and read by itself. */
#include "image_codec.h"

#include "error.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>
#include <libexif/exif-data.h>

#define MARKER_EXIF (JPEG_APP0 + 1)
#define MARKER_ICC (JPEG_APP0 + 2)
#define MARKER_MAX_BYTES 0xffff
#define COMMENT_MAX_BYTES 65533 /* the marker's length counts its own two bytes */

/* Scans of a progressive file that are decoded. Real files have about ten; a small hostile one could ask for
 * thousands of passes over a huge picture. */
#define SCANS_MAX 500

/* A file being read or written. libjpeg leaves a call by longjmp to the setjmp in `guarded`; what must be freed
 * afterwards is here or in libjpeg's pools and not in local variables, which would be indeterminate. */
struct jpeg_job {
    FILE *file;
    const char *path;
    const char *failing; /* what an error of libjpeg's means, for the sentence */
    jmp_buf failed;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct in; /* when reading; else zero */
    struct jpeg_compress_struct to;   /* when writing; else zero */
    struct color_conversion *to_srgb;
    struct image *out;                 /* when reading */
    char **comment;                    /* when reading that */
    const struct image *picture;       /* when writing */
    const struct image_format *format; /* when writing */
};

/* Where decoded pixels go: pixel (x, y) of the file is pixel origin + x * step_x + y * step_y of the picture. */
struct placement {
    int64_t width, height; /* of the picture */
    int64_t origin, step_x, step_y;
};

static void on_error(j_common_ptr jpeg)
{
    struct jpeg_job *job = jpeg->client_data;
    int reason = errno;
    char message[JMSG_LENGTH_MAX];

    if (jpeg->err->msg_code == JERR_FILE_WRITE)
        error_set("%s: cannot be written: %s", job->path, strerror(reason));
    else if (jpeg->err->msg_code == JWRN_JPEG_EOF && ferror(job->file))
        error_set("%s: cannot be read: %s", job->path, strerror(reason));
    else {
        jpeg->err->format_message(jpeg, message);
        error_set("%s: %s: %s", job->path, job->failing, message);
    }
    longjmp(job->failed, 1);
}

/* Where libjpeg would fill in grey for what is missing or damaged, the file is refused. level is -1 for a warning,
 * above for a trace. */
static void on_message(j_common_ptr jpeg, int level)
{
    if (level >= 0)
        return;
    switch (jpeg->err->msg_code) {
    case JWRN_ADOBE_XFORM:
    case JWRN_BOGUS_ICC:
    case JWRN_EXTRANEOUS_DATA: /* padding, by some cameras */
    case JWRN_JFIF_MAJOR:
    case JWRN_NOT_SEQUENTIAL:
        return; /* the pixels are whole */
    default:
        on_error(jpeg);
    }
}

static void on_progress(j_common_ptr jpeg)
{
    struct jpeg_job *job = jpeg->client_data;

    if (job->in.input_scan_number > SCANS_MAX) {
        error_set("%s: has more than %d progressive scans; save it anew with a picture program", job->path,
                  SCANS_MAX);
        longjmp(job->failed, 1);
    }
}

/* Runs one of the functions below so that an error of libjpeg's returns here. Has no local variable that a longjmp
 * could spoil. */
static int guarded(struct jpeg_job *job, int (*work)(struct jpeg_job *job))
{
    if (setjmp(job->failed))
        return -1;
    return work(job);
}

static void catch_errors(struct jpeg_job *job)
{
    jpeg_std_error(&job->errors);
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    job->in.err = &job->errors;
    job->in.client_data = job;
    job->to.err = &job->errors;
    job->to.client_data = job;
    job->progress.progress_monitor = on_progress;
}

/* The EXIF marker, which shares its number with XMP; NULL where there is none. */
static jpeg_saved_marker_ptr exif_marker(const struct jpeg_decompress_struct *in)
{
    for (jpeg_saved_marker_ptr marker = in->marker_list; marker; marker = marker->next)
        if (marker->marker == MARKER_EXIF && marker->data_length > 6 && !memcmp(marker->data, "Exif\0", 6))
            return marker;
    return NULL;
}

/* EXIF orientation 1..8; 1 where there is none or it makes no sense. */
static int exif_orientation(const struct jpeg_decompress_struct *in)
{
    int orientation = 1;
    jpeg_saved_marker_ptr marker = exif_marker(in);
    ExifData *exif = marker ? exif_data_new_from_data(marker->data, marker->data_length) : NULL;

    if (!exif)
        return 1;
    const ExifEntry *entry = exif_content_get_entry(exif->ifd[EXIF_IFD_0], EXIF_TAG_ORIENTATION);
    if (entry && entry->format == EXIF_FORMAT_SHORT && entry->size >= 2)
        orientation = exif_get_short(entry->data, exif_data_get_byte_order(exif));
    exif_data_unref(exif);
    return orientation >= 1 && orientation <= 8 ? orientation : 1;
}

/* width and height are those of the file. */
static struct placement placement_of(int orientation, int64_t width, int64_t height)
{
    int64_t last_x = width - 1, last_y = height - 1;

    switch (orientation) {
    case 2: /* mirrored */
        return (struct placement){width, height, last_x, -1, width};
    case 3: /* upside down */
        return (struct placement){width, height, last_y * width + last_x, -1, -width};
    case 4: /* upside down and mirrored */
        return (struct placement){width, height, last_y * width, 1, -width};
    case 5: /* rows are columns from the left, top first */
        return (struct placement){height, width, 0, height, 1};
    case 6: /* rows are columns from the right, top first */
        return (struct placement){height, width, last_y, height, -1};
    case 7: /* rows are columns from the right, bottom first */
        return (struct placement){height, width, last_x * height + last_y, -height, -1};
    case 8: /* rows are columns from the left, bottom first */
        return (struct placement){height, width, last_x * height, -height, 1};
    default:
        return (struct placement){width, height, 0, 1, width};
    }
}

/* Keeps an RGB profile; opens the conversion to sRGB from a grey or CMYK one that fits the pixels. */
static void read_profile(struct jpeg_job *job, int channels)
{
    JOCTET *icc;
    unsigned int icc_bytes;

    if (!jpeg_read_icc_profile(&job->in, &icc, &icc_bytes))
        return;
    enum color_space space = color_space_of(icc, icc_bytes);
    if (space == COLOR_CMYK || (space == COLOR_GREY && job->in.jpeg_color_space == JCS_GRAYSCALE))
        job->to_srgb = color_open(icc, icc_bytes, channels, 1);
    if (space == COLOR_RGB && channels == 3) {
        job->out->icc = icc;
        job->out->icc_bytes = icc_bytes;
    } else
        free(icc);
}

/* JPEG's CMYK is inverted, 255 is no ink, so light is what the colour and the black let through:
 * x = 2 c k / 255^2 - 1. */
static void load_cmyk(const uint8_t *samples, size_t pixels, float *x)
{
    for (size_t i = 0; i < pixels; i++, samples += 4)
        for (size_t c = 0; c < 3; c++)
            x[3 * i + c] = (float)(samples[c] * samples[3]) / 32512.5f - 1.0f;
}

static void load_row(const struct jpeg_job *job, const uint8_t *samples, float *x)
{
    size_t width = job->in.output_width;

    if (job->to_srgb)
        color_convert(job->to_srgb, samples, width, x);
    else if (job->in.output_components == 4)
        load_cmyk(samples, width, x);
    else
        image_row_load8(samples, 3, width, x, NULL);
}

/* Moves a row of pixels to places that are step pixels apart. */
static void scatter_row(const float *from, size_t pixels, float *to, int64_t step)
{
    for (size_t i = 0; i < pixels; i++)
        memcpy(to + 3 * (int64_t)i * step, from + 3 * i, 3 * sizeof *to);
}

static int read_picture(struct jpeg_job *job)
{
    j_decompress_ptr in = &job->in;

    jpeg_create_decompress(in);
    in->progress = &job->progress;
    jpeg_stdio_src(in, job->file);
    jpeg_save_markers(in, MARKER_EXIF, MARKER_MAX_BYTES);
    jpeg_save_markers(in, MARKER_ICC, MARKER_MAX_BYTES);
    jpeg_read_header(in, TRUE);
    if (in->jpeg_color_space == JCS_UNKNOWN)
        return error_set("%s: a JPEG picture of %d components; grey, RGB and CMYK ones are read", job->path,
                         in->num_components);
    bool cmyk = in->jpeg_color_space == JCS_CMYK || in->jpeg_color_space == JCS_YCCK;
    in->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;

    struct placement to = placement_of(exif_orientation(in), in->image_width, in->image_height);
    if (image_allocate(job->out, job->path, to.width, to.height, false))
        return -1;
    job->out->bits = 8;
    read_profile(job, cmyk ? 4 : 3);

    jpeg_start_decompress(in);
    JDIMENSION row_samples = in->output_width * (JDIMENSION)in->output_components;
    JSAMPARRAY samples = in->mem->alloc_sarray((j_common_ptr)in, JPOOL_IMAGE, row_samples, 1);
    float *beside = NULL; /* a row that becomes a column, or runs backwards, is decoded here first */
    if (to.step_x != 1)
        beside = in->mem->alloc_large((j_common_ptr)in, JPOOL_IMAGE, in->output_width * 3 * sizeof *beside);
    while (in->output_scanline < in->output_height) {
        float *row = job->out->pixels + 3 * (to.origin + in->output_scanline * to.step_y);
        jpeg_read_scanlines(in, samples, 1);
        load_row(job, samples[0], beside ? beside : row);
        if (beside)
            scatter_row(beside, in->output_width, row, to.step_x);
    }
    jpeg_finish_decompress(in);
    return 0;
}

int image_jpeg_read(FILE *file, const char *path, struct image *out)
{
    struct jpeg_job job = {.file = file, .path = path, .failing = "is not a valid JPEG file", .out = out};

    catch_errors(&job);
    int status = guarded(&job, read_picture);
    jpeg_destroy_decompress(&job.in);
    color_close(job.to_srgb);
    return status;
}

static int read_comment(struct jpeg_job *job)
{
    j_decompress_ptr in = &job->in;

    jpeg_create_decompress(in);
    jpeg_stdio_src(in, job->file);
    jpeg_save_markers(in, JPEG_COM, MARKER_MAX_BYTES);
    jpeg_read_header(in, TRUE);
    jpeg_saved_marker_ptr marker = in->marker_list; /* no others are saved */
    if (!marker)
        return 0;
    *job->comment = strndup((const char *)marker->data, marker->data_length);
    return *job->comment ? 0 : error_set("%s: not enough memory for its comment", job->path);
}

int image_jpeg_read_comment(FILE *file, const char *path, char **out)
{
    struct jpeg_job job = {.file = file, .path = path, .failing = "is not a valid JPEG file", .comment = out};

    catch_errors(&job);
    int status = guarded(&job, read_comment);
    jpeg_destroy_decompress(&job.in);
    return status;
}

static int write_picture(struct jpeg_job *job)
{
    const struct image *picture = job->picture;
    j_compress_ptr to = &job->to;
    size_t width = (size_t)picture->width;

    jpeg_create_compress(to);
    jpeg_stdio_dest(to, job->file);
    to->image_width = (JDIMENSION)picture->width;
    to->image_height = (JDIMENSION)picture->height;
    to->input_components = 3;
    to->in_color_space = JCS_RGB;
    jpeg_set_defaults(to);
    jpeg_set_quality(to, job->format->quality ? job->format->quality : 95, TRUE);
    to->optimize_coding = TRUE;
    for (int c = 0; c < to->num_components; c++) { /* 4:4:4: the colours of a dream are as fine as its lines */
        to->comp_info[c].h_samp_factor = 1;
        to->comp_info[c].v_samp_factor = 1;
    }
    jpeg_start_compress(to, TRUE);
    if (picture->icc)
        jpeg_write_icc_profile(to, picture->icc, (unsigned int)picture->icc_bytes);
    const char *comment = job->format->comment;
    if (comment)
        jpeg_write_marker(to, JPEG_COM, (const JOCTET *)comment, (unsigned int)strlen(comment));
    JSAMPARRAY samples = to->mem->alloc_sarray((j_common_ptr)to, JPOOL_IMAGE, (JDIMENSION)(3 * width), 1);
    while (to->next_scanline < to->image_height) {
        image_row_store8(picture->pixels + 3 * to->next_scanline * width, NULL, width, samples[0]);
        jpeg_write_scanlines(to, samples, 1);
    }
    jpeg_finish_compress(to);
    return 0;
}

int image_jpeg_check_size(const char *path, int64_t width, int64_t height)
{
    if (width <= JPEG_MAX_DIMENSION && height <= JPEG_MAX_DIMENSION)
        return 0;
    return error_set("%s: %" PRId64 " x %" PRId64 " pixels; a JPEG picture has at most %ld a side, write a .png",
                     path, width, height, JPEG_MAX_DIMENSION);
}

int image_jpeg_write(FILE *file, const char *path, const struct image *picture, const struct image_format *format)
{
    struct jpeg_job job = {
        .file = file, .path = path, .failing = "cannot be written as JPEG", .picture = picture, .format = format};

    assert(format->quality >= 0 && format->quality <= 100);
    if (image_jpeg_check_size(path, picture->width, picture->height))
        return -1;
    size_t comment_bytes = format->comment ? strlen(format->comment) : 0;
    if (comment_bytes > COMMENT_MAX_BYTES)
        return error_set("%s: a comment of %zu bytes; a JPEG picture has at most %d, write a .png", path,
                         comment_bytes, COMMENT_MAX_BYTES);
    catch_errors(&job);
    int status = guarded(&job, write_picture);
    jpeg_destroy_compress(&job.to);
    return status;
}
