#include "gate/exchange.h"

/* What no provider accepts, and what only confuses those who read the logs: control characters in
 * a model's name. Guardrails on the content have their place here. */
enum err gate_guard_input(struct exchange *x)
{
    for (size_t i = 0; i < x->call.model.n; i++) {
        unsigned char c = (unsigned char)x->call.model.p[i];
        if (c < 0x20 || c == 0x7f)
            return fail(x->failure, ERR_BAD_REQUEST, "model holds a control character");
    }
    return ERR_OK;
}
