/* Threads that read requests from /dev/fuse and handle them.
 *
 * Context: made, started and stopped by one thread. */
#ifndef IPCFS_FS_TRANSPORT_DEV_H
#define IPCFS_FS_TRANSPORT_DEV_H

#include <fuse_lowlevel.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct dev_thread;

struct dev_loop {
    struct fuse_session *session;
    /* Looks at each request before it is handled; may change it. NULL: nobody does. */
    void (*inspect)(void *arg, struct fuse_buf *request);
    /* Called by a thread that ends by itself: the connection has (0) or it failed (a negative errno). */
    void (*ended)(void *arg, int result);
    void *arg;
    struct dev_thread *threads; /* a list */
    pthread_mutex_t lock;
    pthread_cond_t called;
    /* Written under lock: */
    _Atomic unsigned int n_resting; /* threads that don't read until they are called */
    unsigned int n_reading;
    unsigned int n_called; /* of those that rest */
    bool is_stopping;
};

/* @loop's members up to arg are set. */
void dev_init(struct dev_loop *loop);

/* Its threads have been stopped. */
void dev_deinit(struct dev_loop *loop);

/* Reads one request and handles it, waiting for one. @buf is kept for the next; its mem is to be freed.
 * Return: a positive number; 0: the connection has ended; a negative errno, -EINTR among them. */
int dev_serve_one(struct dev_loop *loop, struct fuse_buf *buf);

/* Starts up to @n threads. Return: 0 if there is at least one; a negative errno. */
int dev_start(struct dev_loop *loop, unsigned int n);

/* Ends the threads: no handler of theirs runs any more. */
void dev_stop(struct dev_loop *loop);

#endif
