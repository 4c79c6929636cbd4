/* JSON values that cJSON alone does not give: numbers that may not be finite, texts that may not be UTF-8. */
#ifndef PAREIDOLIA_JSON_H
#define PAREIDOLIA_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct recipe;

/* Adds value under name; null where it is not finite, which JSON cannot say. Numbers are printed with as many
 * digits as bring back the same double. */
void json_add_number(cJSON *object, const char *name, double value);

/* Adds text under name, null for NULL. What is not UTF-8, which file names may be, is replaced by U+FFFD. */
void json_add_text(cJSON *object, const char *name, const char *text);

/* Adds "programs", the convolution programs of a device as 16 digits, where it has a choice. */
void json_add_programs(cJSON *object, uint64_t programs);

/* Adds a recipe's settings, or where `facts` is set what else is in it, each under its name without dashes before
 * it and with _ for those in it. */
void json_add_recipe(cJSON *object, const struct recipe *recipe, bool facts);

/* Prints value and a line end to file and deletes it. Returns 0, or -1 with an error where the file or memory
 * fails, also where value is NULL. What memory was short for while value was built is not in it, and not noticed.
 */
int json_print(FILE *file, cJSON *value);

#endif
