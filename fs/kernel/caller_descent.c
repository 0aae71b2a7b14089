/* Near ancestors are looked at at once; who asks for one far away is told to wait (inquiry.h). */
#include "caller_descent.h"

#include "inquiry.h"
#include "node.h"

int caller_descends_nearly(pid_t tid, pid_t ancestor)
{
    struct question question = question_descends(tid, ancestor);
    int answer = inquiry_try(&question);

    question_end(&question);
    return answer == QUESTION_OPEN ? CALLER_ASKS : answer;
}

/* Return: what is known of @ancestor; NULL: nothing. */
static const struct descent *find_descent(const struct descents *descents, pid_t ancestor)
{
    for (unsigned int i = 0; i < descents->n_known; i++) {
        if (descents->known[i].ancestor == ancestor)
            return &descents->known[i];
    }
    return NULL;
}

int caller_descends(const struct caller *caller, pid_t ancestor)
{
    const struct descent *known = find_descent(caller->descents, ancestor);
    int answer;

    if (known)
        return known->descends;
    answer = caller_descends_nearly(caller->tid, ancestor);
    if (answer == CALLER_ASKS)
        caller->descents->asked = ancestor;
    return answer;
}

void caller_note_descent(struct descents *descents, bool descends)
{
    /* A mailbox that changes hands again and again makes its caller ask again. */
    unsigned int i = descents->n_known < N_DESCENTS ? descents->n_known++ : 0;

    descents->known[i] = (struct descent){ .ancestor = descents->asked, .descends = descends };
}
