/* Where fetched files are kept. */
#ifndef PAREIDOLIA_CACHE_H
#define PAREIDOLIA_CACHE_H

/* The path of a fetched file, there or not: ($XDG_CACHE_HOME or ~/.cache)/pareidolia/name. Returns a path to
 * free(), or NULL with an error. */
char *cache_path(const char *name);

#endif
