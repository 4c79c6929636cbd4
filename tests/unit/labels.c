/* Tests names of classes (weights/labels.c) and the search for fetched files (weights/cache.c), in a cache
 * directory of its own. */
#include "directory.h"

#include "host/error.h"
#include "weights/weights.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The sentence that stands must have every part and name the file. */
static void check_sentence(const char *path, const char *const *parts)
{
    CHECK(strstr(error_message(), path), "\"%s\" does not name %s", error_message(), path);
    CHECK(!strchr(error_message(), '\n'), "\"%s\" is more than one line", error_message());
    for (; *parts; parts++)
        CHECK(strstr(error_message(), *parts), "\"%s\" lacks \"%s\"", error_message(), *parts);
}

#define PARTS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void check_labels(const char *title, const char *text, const char *part)
{
    struct labels labels;
    const char *path = in_directory("labels");

    file_write(path, text, strlen(text));
    int status = labels_read(path, &labels);
    if (part) {
        CHECK(status == -1 && !labels.names && !labels.count, "%s was read", title);
        check_sentence(path, PARTS(part));
        return;
    }
    CHECK(status == 0, "%s: %s", title, error_message());
    if (status)
        return;
    CHECK(labels.count == 2, "%s: %d labels", title, labels.count);
    CHECK(!strcmp(labels.ids[0], "n02123394") && !strcmp(labels.names[0], "Persian cat"), "%s: %s %s", title,
          labels.ids[0], labels.names[0]);
    CHECK(!strcmp(labels.ids[1], "n02124075") && !strcmp(labels.names[1], "Egyptian cat"), "%s: %s %s", title,
          labels.ids[1], labels.names[1]);
    labels_free(&labels);
}

static void test_labels(void)
{
#define CAT "[\"n02123394\", \"Persian_cat\"]"
    check_labels("Keras's", "{\"1\": [\"n02124075\", \"Egyptian_cat\"], \"0\": " CAT "}\n", NULL);
    check_labels("lines", "n02123394\tPersian cat\nn02124075\tEgyptian cat\n", NULL);
    check_labels("columns, CR, no end", "n02123394\tPersian cat\t7\r\nn02124075\tEgyptian cat\tx\ty", NULL);
    check_labels("a gap", "{\"0\": " CAT ", \"2\": " CAT "}", "from 0 to 1");
    check_labels("twice", "{\"0\": " CAT ", \"0\": " CAT "}", "class 0 twice");
    check_labels("not a number", "{\"0\": " CAT ", \"01\": " CAT "}", "not a number");
    check_labels("no pair", "{\"0\": [\"n02123394\"]}", "class 0 is not");
    check_labels("object", "{\"0\": {\"a\": \"b\", \"c\": \"d\"}}", "class 0 is not");
    check_labels("cut", "{\"0\": " CAT ", ", "JSON");
    check_labels("none", "{}", "JSON");
    check_labels("empty", "", "empty");
    check_labels("no tab", "n02123394\tPersian cat\nEgyptian cat\n", "line 2");
    check_labels("no name", "n02123394\t\n", "class 0 has an empty");
    check_labels("terminal codes", "n02123394\t\033[2J\n", "control character");
#undef CAT
    struct labels labels;
    CHECK(labels_read(in_directory("absent"), &labels) == -1, "a file that is not there was read");
    check_sentence(in_directory("absent"), PARTS("No such file"));
    labels_free(NULL);
}

/* The search for files */

static void check_found(int with_top, const char *wanted)
{
    char *path = weights_find(with_top);

    CHECK(path && !strcmp(path, wanted), "found %s, not %s (%s)", path ? path : "nothing", wanted, error_message());
    free(path);
}

static void test_find(void)
{
    char notop[256], top[256];
    struct labels labels;

    mkdir(in_directory("pareidolia"), 0700);
    snprintf(notop, sizeof notop, "%s",
             in_directory("pareidolia/inception_v3_weights_tf_dim_ordering_tf_kernels_notop.h5"));
    snprintf(top, sizeof top, "%s", in_directory("pareidolia/inception_v3_weights_tf_dim_ordering_tf_kernels.h5"));
    setenv("XDG_CACHE_HOME", directory, 1);
    unsetenv("PAREIDOLIA_WEIGHTS");
    unsetenv("PAREIDOLIA_LABELS");

    check_found(0, WEIGHTS_EMBEDDED);
    CHECK(!weights_find(1), "found weights with a dense layer in an empty cache");
    check_sentence(directory, PARTS("weights/fetch.sh", "PAREIDOLIA_WEIGHTS"));
    CHECK(labels_read(NULL, &labels) == -1, "found labels in an empty cache");
    check_sentence(directory, PARTS("weights/fetch.sh --top", "PAREIDOLIA_LABELS"));

    file_write(notop, "", 0);
    check_found(0, notop);
    check_found(1, notop);
    file_write(top, "", 0);
    check_found(1, top);
    struct timespec late[2] = {{.tv_sec = 2000000000}, {.tv_sec = 2000000000}};
    utimensat(AT_FDCWD, top, late, 0);
    check_found(0, top);
    late[0].tv_nsec = late[1].tv_nsec = 1000;
    utimensat(AT_FDCWD, notop, late, 0);
    check_found(0, notop);
    check_found(1, top);
    setenv("PAREIDOLIA_WEIGHTS", "elsewhere.h5", 1);
    check_found(1, "elsewhere.h5");

    file_write(in_directory("pareidolia/imagenet_class_index.json"), "{\"0\": [\"a\", \"b\"]}", 17);
    CHECK(!labels_read(NULL, &labels) && labels.count == 1, "%s", error_message());
    labels_free(&labels);
}

int main(void)
{
    directory_make();
    test_labels();
    test_find();
    directory_remove_all();
    return check_result();
}
