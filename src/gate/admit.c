#include "gate/exchange.h"

/* The one resource that is bounded so far is time: a call that cannot be made in what is left of
 * its deadline is refused before a provider is asked. Quotas and budgets reserve here. */
enum err gate_admit(struct exchange *x)
{
    if (x->deadline <= loop_now())
        return fail(x->failure, ERR_UPSTREAM_TIMEOUT,
                    "the time for the call was over before a provider could be asked");
    return ERR_OK;
}
