/* The letter of an atomic operation is in a comment of its statement, in core's sources; they are read while
 * the explorer runs. */
#include "letters.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define N_FILES_MAX 16
#define N_LINES_MAX 4000
#define LINE_CHARS_MAX 256

#define N_LETTERS 16U /* A to P */

struct source {
    char name[64];
    char (*lines)[LINE_CHARS_MAX]; /* the first is line 1 */
    int n_lines;
};

struct letter {
    unsigned int kinds;   /* the words it is for */
    unsigned int removes; /* what is gone without it */
};

#define ON(kind) (1U << KIND_##kind)

static const struct letter letters[N_LETTERS] = {
    ['A' - 'A'] = { ON(SLOT), RELEASE },
    ['B' - 'A'] = { ON(SLOT), ACQUIRE },
    ['C' - 'A'] = { ON(TAIL), RELEASE },
    ['D' - 'A'] = { ON(TAIL), ACQUIRE },
    ['E' - 'A'] = { ON(SLOT), ACQUIRE | RELEASE },
    ['F' - 'A'] = { ON(SLOT), ACQUIRE },
    ['G' - 'A'] = { ON(WAIT) | ON(NONE), ACQUIRE | RELEASE | SEQ_CST },
    ['H' - 'A'] = { ON(SLOT) | ON(TAIL) | ON(WAIT) | ON(NONE), SEQ_CST },
    ['I' - 'A'] = { ON(MAGIC), RELEASE },
    ['J' - 'A'] = { ON(MAGIC), ACQUIRE },
    ['K' - 'A'] = { ON(ROLE), ACQUIRE | RELEASE },
    ['L' - 'A'] = { ON(HEAD), RELEASE },
    ['M' - 'A'] = { ON(HEAD), ACQUIRE },
    ['N' - 'A'] = { ON(TAIL), ACQUIRE },
    ['O' - 'A'] = { ON(NONE), RELEASE },
    ['P' - 'A'] = { ON(NONE), ACQUIRE },
};

static struct source sources[N_FILES_MAX];
static char without;
static const char *only_file;
static int only_line;

void letters_without(char letter)
{
    without = letter;
}

void letters_without_only_at(const char *file, int line)
{
    only_file = file;
    only_line = line;
}

bool letters_lack(char letter)
{
    return without == letter && !only_file;
}

bool letters_anything_lacks(void)
{
    return without != 0;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Return: the path of source file @name below core/. */
static const char *path_of(const char *name)
{
    static const char *const paths[] = { SOURCES };

    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        if (strcmp(base_name(paths[i]), name) == 0)
            return paths[i];
    }
    return name;
}

static void read_source(struct source *source, const char *name)
{
    char path[512];
    FILE *file;

    snprintf(source->name, sizeof(source->name), "%s", name);
    snprintf(path, sizeof(path), "%s/%s", CORE_DIRECTORY, path_of(name));
    file = fopen(path, "r");
    source->lines = calloc(N_LINES_MAX, sizeof(*source->lines));
    if (!file || !source->lines) {
        fprintf(stderr, "%s: %m\n", path);
        exit(1);
    }
    while (source->n_lines < N_LINES_MAX - 1 &&
           fgets(source->lines[source->n_lines + 1], LINE_CHARS_MAX, file))
        source->n_lines++;
    fclose(file);
}

static struct source *find_source(const char *name)
{
    for (unsigned int i = 0; i < N_FILES_MAX; i++) {
        if (sources[i].n_lines == 0)
            read_source(&sources[i], name);
        if (strcmp(sources[i].name, name) == 0)
            return &sources[i];
    }
    fprintf(stderr, "too many sources\n");
    exit(1);
}

/* Return: the last character of @line that is code; 0: none is. */
static char last_of_code(const char *line)
{
    const char *begin = line + strspn(line, " ");
    const char *comment = strstr(line, "/*");
    const char *end = comment ? comment : line + strlen(line);

    /* The rest of a comment of several lines. */
    if (begin[0] == '*' && (begin[1] == ' ' || begin[1] == '/'))
        return '\0';
    while (end > begin && isspace((unsigned char)end[-1]))
        end--;
    return end == begin ? '\0' : end[-1];
}

static bool ends_statement(const char *line)
{
    char last = last_of_code(line);

    return last == '\0' || last == ';' || last == '{' || last == '}' || last == ':';
}

static unsigned int letters_in(const char *line)
{
    const char *p = strstr(line, "/*");
    unsigned int found = 0;

    for (; p && *p; p++)
        if (*p >= 'A' && *p < 'A' + (int)N_LETTERS && !isalnum((unsigned char)p[-1]) &&
            !isalnum((unsigned char)p[1]))
            found |= 1U << (*p - 'A');
    return found;
}

/* Return: the letters of the statement that @line is in. *@ret_first is where it begins, *@ret_last where it
 * ends. */
static unsigned int letters_at(const struct source *source, int line, int *ret_first, int *ret_last)
{
    unsigned int found = 0;
    int first = line;
    int last = line;

    while (first > 1 && !ends_statement(source->lines[first - 1]))
        first--;
    while (last < source->n_lines && !ends_statement(source->lines[last]))
        last++;
    for (int i = first; i <= last; i++)
        found |= letters_in(source->lines[i]);
    *ret_first = first;
    *ret_last = last;
    return found;
}

static unsigned int letters_of(struct site *site)
{
    int first;
    int last;

    if (!site->is_known)
        site->letters = letters_at(find_source(base_name(site->file)), site->line, &first, &last);
    site->is_known = true;
    return site->letters;
}

static bool is_taken_out(const struct site *site, enum kind kind)
{
    unsigned int i = (unsigned int)(without - 'A');

    if (!without || !(site->letters & 1U << i) || !(letters[i].kinds & 1U << kind))
        return false;
    return !only_file || (site->line == only_line && strcmp(base_name(site->file), only_file) == 0);
}

static _Noreturn void wrong_letter(const struct site *site, const char *what)
{
    printf("%s:%d: %s\n", base_name(site->file), site->line, what);
    exit(2);
}

unsigned int letters_order(struct site *site, enum kind kind, memory_order order)
{
    static const unsigned int orders[] = {
        [memory_order_relaxed] = 0,
        [memory_order_consume] = ACQUIRE,
        [memory_order_acquire] = ACQUIRE,
        [memory_order_release] = RELEASE,
        [memory_order_acq_rel] = ACQUIRE | RELEASE,
        [memory_order_seq_cst] = ACQUIRE | RELEASE | SEQ_CST,
    };
    unsigned int found;
    bool fits = false;

    if (order == memory_order_relaxed)
        return 0;
    found = letters_of(site);
    if (found == 0)
        wrong_letter(site, "an ordering without a letter");
    for (unsigned int i = 0; i < N_LETTERS; i++)
        fits |= (found & 1U << i) && (letters[i].kinds & 1U << kind);
    if (!fits)
        wrong_letter(site, "an ordering whose letter is for other words");
    return is_taken_out(site, kind) ? orders[order] & ~letters[without - 'A'].removes
                                    : orders[order];
}

bool letters_lack_fence(struct site *site)
{
    if (letters_of(site) == 0)
        wrong_letter(site, "a fence without a letter");
    return is_taken_out(site, KIND_NONE);
}

/* Return: whether @line has an atomic that orders: one that names its order, or one that needn't. */
static bool orders(const char *line)
{
    static const char *const verbs[] = { "atomic_load(",
                                         "atomic_store(",
                                         "atomic_exchange(",
                                         "atomic_fetch_or(",
                                         "atomic_compare_exchange_strong(",
                                         "memory_order_acquire",
                                         "memory_order_release",
                                         "memory_order_acq_rel",
                                         "memory_order_seq_cst" };

    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strstr(line, verbs[i]))
            return true;
    return false;
}

unsigned int letters_check_sources(void)
{
    static const char *const names[] = { SOURCES };
    unsigned int found = 0;
    unsigned int n = 0;
    int first;
    int last = 0;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const struct source *source = find_source(base_name(names[i]));

        for (int line = 1; line <= source->n_lines; line++) {
            unsigned int here;

            if (!orders(source->lines[line]) || last_of_code(source->lines[line]) == '\0')
                continue;
            here = letters_at(source, line, &first, &last);
            found |= here;
            if (here == 0) {
                printf("core/%s:%d: an ordering without a letter\n", source->name, line);
                n++;
            }
        }
    }
    for (unsigned int i = 0; i < N_LETTERS; i++) {
        if (found & 1U << i)
            continue;
        printf("no ordering has the letter %c\n", 'A' + i);
        n++;
    }
    return n;
}
