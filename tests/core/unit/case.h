/* A test with its file's set_up() and tear_down() around it. These are not Criterion's fixtures: a crash in those does not fail
 * the test. */
#ifndef IPCFS_TESTS_CASE_H
#define IPCFS_TESTS_CASE_H

#define CASE(suite, name)                                                                          \
    static void run_##name(void);                                                                  \
    Test(suite, name)                                                                              \
    {                                                                                              \
        set_up();                                                                                  \
        run_##name();                                                                              \
        tear_down();                                                                               \
    }                                                                                              \
    static void run_##name(void)

#endif
