/* The text in a picture file: what libpng and libjpeg themselves find in the files that are written, what is found
 * in files that they write, and that a picture without a comment is written as if there were no comments at all. */
#include "image.h"

#include "error.h"
#include "tests/check.h"
#include "tests/unit/directory.h"
#include "tests/unit/image_files.h"

#include <errno.h>
#include <string.h>

enum { W = 5, H = 4, JPEG_MOST = 65533 };

static float pixels[W * H * 3];
static uint8_t samples[W * H * 3]; /* what they are written as */
static uint16_t alpha[W * H];

static struct image picture_make(void)
{
    for (int i = 0; i < W * H * 3; i++) {
        samples[i] = (uint8_t)(i * 37 % 256);
        pixels[i] = ((float)samples[i] + 0.5f) / 127.5f - 1;
    }
    return (struct image){.width = W, .height = H, .pixels = pixels, .bits = 8};
}

/* A text of count bytes, to be freed. */
static char *text_make(size_t count)
{
    char *text = malloc(count + 1);

    CHECK(text, "no memory");
    for (size_t i = 0; text && i < count; i++)
        text[i] = (char)('!' + i % 90);
    text[count] = '\0';
    return text;
}

static void write_well(const char *path, const struct image *picture, const char *comment)
{
    CHECK(!image_write(path, picture, &(struct image_format){.comment = comment}), "%s", error_message());
}

/* What image_read_comment finds is text; NULL: none. */
static void expect_comment(const char *path, const char *text)
{
    char *comment = NULL;

    CHECK(!image_read_comment(path, &comment), "%s", error_message());
    CHECK(!comment == !text, "%s: %s comment", path, text ? "no" : "a");
    CHECK(!comment || !text || !strcmp(comment, text), "%s: '%.200s' instead of '%.200s'", path, comment, text);
    free(comment);
}

static void expect_refused(const char *path, const char *words)
{
    char *comment = (char *)1;

    CHECK(image_read_comment(path, &comment) == -1, "%s was read", path);
    CHECK(!comment, "%s: *out is not NULL", path);
    CHECK(strstr(error_message(), path) && strstr(error_message(), words), "'%s' lacks '%s'", error_message(),
          words);
}

/* ---- written by the program, read by the libraries ---- */

/* libpng finds one text, before the pixels. */
static void expect_png_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "rb");
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_textp found;
    int count;

    png_init_io(png, file);
    png_read_info(png, info); /* ends at the first IDAT */
    CHECK(png_get_text(png, info, &found, &count) == 1 && count == 1, "%s: %d texts", path, count);
    if (count == 1) {
        CHECK(!strcmp(found->key, "Comment"), "keyword %s", found->key);
        CHECK(found->compression == PNG_ITXT_COMPRESSION_NONE, "compression %d", found->compression);
        CHECK(!strcmp(found->text, text), "'%.200s' instead of '%.200s'", found->text, text);
    }
    png_destroy_read_struct(&png, &info, NULL);
    fclose(file);
}

/* libjpeg finds one comment. */
static void expect_jpeg_text(const char *path, const char *text)
{
    struct jpeg_decompress_struct jpeg = {0};
    struct jpeg_error_mgr errors;
    FILE *file = fopen(path, "rb");

    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&jpeg);
    jpeg_stdio_src(&jpeg, file);
    jpeg_save_markers(&jpeg, JPEG_COM, 0xffff);
    jpeg_read_header(&jpeg, TRUE);
    jpeg_saved_marker_ptr marker = jpeg.marker_list;
    CHECK(marker && !marker->next, "%s: not one comment", path);
    if (marker)
        CHECK(marker->data_length == strlen(text) && !memcmp(marker->data, text, strlen(text)),
              "%s: %u bytes, '%.*s' instead of '%.200s'", path, marker->data_length,
              (int)(marker->data_length < 200 ? marker->data_length : 200), (const char *)marker->data, text);
    jpeg_destroy_decompress(&jpeg);
    fclose(file);
}

static void expect_same_picture(const char *path, const char *other)
{
    struct image a, b;

    CHECK(!image_read(path, &a) && !image_read(other, &b), "%s", error_message());
    CHECK(a.pixels && b.pixels && !memcmp(a.pixels, b.pixels, sizeof pixels), "%s: other pixels than in %s", path,
          other);
    image_free(&a);
    image_free(&b);
}

static void test_written(void)
{
    struct image picture = picture_make();
    const char *const texts[] = {"a partial picture",
                                 "{\"layer\": \"mixed3\",\n \"image\": \"caf\xc3\xa9 \xe2\x98\x95.jpg\"}", ""};
    const char *png = in_directory("a.png"), *jpeg = in_directory("a.jpg");

    write_well(in_directory("plain.png"), &picture, NULL);
    write_well(in_directory("plain.jpg"), &picture, NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        png = in_directory("a.png");
        jpeg = in_directory("a.jpg");
        write_well(png, &picture, texts[i]);
        expect_png_text(png, texts[i]);
        expect_comment(png, texts[i]);
        expect_same_picture(png, in_directory("plain.png"));
        write_well(jpeg, &picture, texts[i]);
        expect_jpeg_text(jpeg, texts[i]);
        expect_comment(jpeg, texts[i]);
        expect_same_picture(jpeg, in_directory("plain.jpg"));
    }
    picture.alpha = alpha;
    CHECK(!image_write(png, &picture, &(struct image_format){.bits = 16, .comment = texts[1]}), "%s",
          error_message());
    expect_png_text(png, texts[1]);
    expect_comment(png, texts[1]);
    CHECK(directory_entries(true) == 4, "a file was left");
}

static void test_longest(void)
{
    struct image picture = picture_make();
    const char *jpeg = in_directory("a.jpg"), *png = in_directory("a.png");
    char *text = text_make(IMAGE_MAX_COMMENT + 1);

    CHECK(image_write(png, &picture, &(struct image_format){.comment = text}) == -1, "written");
    CHECK(strstr(error_message(), png) && strstr(error_message(), "4194305"), "%s", error_message());
    text[IMAGE_MAX_COMMENT] = '\0';
    write_well(png, &picture, text);
    expect_comment(png, text);

    text[JPEG_MOST + 1] = '\0';
    CHECK(image_write(jpeg, &picture, &(struct image_format){.comment = text}) == -1, "written");
    CHECK(strstr(error_message(), jpeg) && strstr(error_message(), "65534"), "%s", error_message());
    text[JPEG_MOST] = '\0';
    write_well(jpeg, &picture, text);
    expect_jpeg_text(jpeg, text);
    expect_comment(jpeg, text);
    free(text);
    CHECK(directory_entries(true) == 2, "a file was left");
}

/* ---- no comment ---- */

/* The bytes at path are those at plain, and count more from those on that begin with mark. */
static void expect_inserted(const char *path, const char *plain, const char *mark, size_t mark_bytes, size_t count)
{
    size_t with_count, count_plain, at = 0;
    unsigned char *with = file_read(path, &with_count), *without = file_read(plain, &count_plain);

    CHECK(with_count == count_plain + count, "%s: %zu bytes, %zu without", path, with_count, count_plain);
    while (at + mark_bytes < with_count && memcmp(with + at, mark, mark_bytes))
        at++;
    CHECK(at + count < with_count && !memcmp(with, without, at) &&
              !memcmp(with + at + count, without + at, count_plain - at),
          "%s: more than the comment at %zu is not as without", path, at);
    free(with);
    free(without);
}

/* A comment adds its own bytes and changes no other; without one, the PNG file is what libpng makes of the samples
 * when it is told nothing else. */
static void test_none(void)
{
    struct image picture = picture_make();
    struct png_source source = {
        .width = W, .height = H, .bits = 8, .color_type = PNG_COLOR_TYPE_RGB, .samples = samples};
    const char *path = in_directory("a"), *plain;

    png_make(path, &source);
    plain = in_directory("plain.png");
    write_well(plain, &picture, NULL);
    expect_comment(plain, NULL);
    expect_inserted(plain, path, "\x89PNG", 4, 0);
    path = in_directory("a.png");
    write_well(path, &picture, "0123456789");
    /* length, name, keyword with its end, two flags, two empty texts, text; CRC */
    expect_inserted(path, plain, "\0\0\0\x16iTXtComment", 15, 8 + 8 + 2 + 2 + 10 + 4);

    plain = in_directory("plain.jpg");
    write_well(plain, &picture, NULL);
    expect_comment(plain, NULL);
    path = in_directory("a.jpg");
    write_well(path, &picture, "0123456789");
    expect_inserted(path, plain, "\xff\xfe\0\14", 4, 4 + 10);
    CHECK(directory_entries(true) == 5, "a file was left");
}

/* ---- written by the libraries, read by the program ---- */

/* Writes a PNG file with texts before its pixels, behind them, or some before and the others behind. */
static void png_make_texts(const char *path, size_t idat_bytes, png_text *texts, int before, int behind)
{
    enum { SIDE = 200 };
    static uint8_t row[SIDE * 3];
    FILE *file = fopen(path, "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);

    png_init_io(png, file);
    png_set_compression_buffer_size(png, idat_bytes);
    png_set_IHDR(png, info, SIDE, SIDE, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_BASE,
                 PNG_FILTER_TYPE_BASE);
    if (before)
        png_set_text(png, info, texts, before);
    png_write_info(png, info);
    for (int y = 0; y < SIDE; y++) {
        for (int i = 0; i < SIDE * 3; i++)
            row[i] = (uint8_t)((i * y + i * i) % 251);
        png_write_row(png, row);
    }
    if (behind)
        png_set_text(png, info, texts + before, behind);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(file);
}

static void test_png_read(size_t idat_bytes)
{
    const char *path = in_directory("a.png");
    char title[] = "Title", key[] = "Comment", small[] = "comment", latin1[] = "caf\xe9\xff\x80~",
         utf8[] = "\xe2\x98\x95", empty[] = "";
    png_text texts[] = {{.compression = PNG_ITXT_COMPRESSION_NONE, .key = title, .text = utf8},
                        {.compression = PNG_TEXT_COMPRESSION_NONE, .key = small, .text = utf8},
                        {.compression = PNG_TEXT_COMPRESSION_NONE, .key = key, .text = latin1},
                        {.compression = PNG_ITXT_COMPRESSION_NONE, .key = key, .text = utf8}};
    const char *const converted = "caf\xc3\xa9\xc3\xbf\xc2\x80~";

    png_make_texts(path, idat_bytes, texts, 2, 0);
    expect_comment(path, NULL);
    png_make_texts(path, idat_bytes, texts, 4, 0);
    expect_comment(path, converted); /* the first */
    png_make_texts(path, idat_bytes, texts, 2, 2);
    expect_comment(path, converted); /* behind the pixels */
    png_make_texts(path, idat_bytes, texts + 3, 0, 1);
    expect_comment(path, utf8);
    texts[2].compression = PNG_TEXT_COMPRESSION_zTXt;
    png_make_texts(path, idat_bytes, texts, 3, 0);
    expect_comment(path, converted);
    texts[3].compression = PNG_ITXT_COMPRESSION_zTXt;
    png_make_texts(path, idat_bytes, texts + 3, 1, 0);
    expect_comment(path, utf8);
    texts[2] = (png_text){.compression = PNG_TEXT_COMPRESSION_NONE, .key = key, .text = empty};
    png_make_texts(path, idat_bytes, texts + 2, 1, 0);
    expect_comment(path, "");
    directory_entries(true);
}

/* The comment is looked for among 32 texts, wherever the pixels are; the pixels are read whatever there is. */
static void test_png_many(void)
{
    enum { MOST = 32 };
    const char *path = in_directory("many.png");
    char title[] = "Title", key[] = "Comment", text[] = "a text";
    png_text texts[MOST + 1];
    struct image picture;

    for (int i = 0; i <= MOST; i++)
        texts[i] = (png_text){.compression = PNG_TEXT_COMPRESSION_zTXt, .key = title, .text = text};
    texts[MOST - 1].key = key;
    png_make_texts(path, 8192, texts, MOST + 1, 0);
    expect_comment(path, text);
    png_make_texts(path, 8192, texts, 5, MOST - 5);
    expect_comment(path, text);
    texts[MOST - 1].key = title;
    texts[MOST].key = key;
    png_make_texts(path, 8192, texts, MOST + 1, 0);
    expect_comment(path, NULL);
    CHECK(!image_read(path, &picture), "%s", error_message());
    image_free(&picture);
    directory_entries(true);
}

static void test_jpeg_read(void)
{
    static const unsigned char two[] = "\xff\xfe\0\10first\0\xff\xfe\0\10second"; /* the first: a zero byte */
    struct jpeg_source source = {.width = W, .height = H, .from = JCS_RGB, .samples = samples, .orientation = 3};
    const char *path = in_directory("a.jpg");
    size_t count;

    picture_make();
    jpeg_make(path, &source);
    expect_comment(path, NULL);
    unsigned char *bytes = file_read(path, &count);
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(bytes, 1, 2, file) == 2 && fwrite(two, 1, sizeof two - 1, file) == sizeof two - 1 &&
              fwrite(bytes + 2, 1, count - 2, file) == count - 2 && !fclose(file),
          "%s", strerror(errno));
    free(bytes);
    expect_comment(path, "first");
    directory_entries(true);
}

/* ---- refused ---- */

static void test_refused(void)
{
    struct image picture = picture_make();
    const char *path = in_directory("a.png");
    size_t count;

    expect_refused(path, strerror(ENOENT));
    expect_refused(directory, "directory");
    file_write(path, "text", 4);
    expect_refused(path, "neither");
    write_well(path, &picture, "a comment");
    unsigned char *bytes = file_read(path, &count);
    file_write(path, bytes, count - 20);
    expect_comment(path, "a comment"); /* the pixels behind it need not be there */
    bytes[60] ^= 1;                    /* in it */
    file_write(path, bytes, count);
    expect_refused(path, "CRC");
    free(bytes);
    write_well(path, &picture, NULL);
    bytes = file_read(path, &count);
    for (size_t cut = 0; cut < count; cut++) {
        file_write(path, bytes, cut);
        expect_refused(path, "");
    }
    free(bytes);

    path = in_directory("a.jpg");
    write_well(path, &picture, "a comment");
    bytes = file_read(path, &count);
    for (size_t cut = 0; cut < 200; cut++) {
        file_write(path, bytes, cut);
        expect_refused(path, "");
    }
    free(bytes);
    CHECK(directory_entries(true) == 2, "a file was left");
}

int main(void)
{
    directory_make();
    test_written();
    test_longest();
    test_none();
    test_png_read(64);
    test_png_read(8192);
    test_png_read(1 << 20); /* all pixels in one chunk */
    test_png_many();
    test_jpeg_read();
    test_refused();
    directory_remove();
    return check_result();
}
