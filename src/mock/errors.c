#include "mock/errors.h"

#define ROW(s, t, c, m)                                                                            \
    {                                                                                              \
        .status = (s), .type = SPAN_INIT(t), .code = SPAN_INIT(c), .message = SPAN_INIT(m)         \
    }

/* The first row of a status is its usual one. */
static const struct mock_error ERRORS[] = {
    ROW(400, "invalid_request_error", "invalid_value", "The request is not valid."),
    ROW(400, "invalid_request_error", "context_length_exceeded",
        "This model's maximum context length is 8192 tokens. Please reduce the length of the "
        "messages."),
    ROW(400, "invalid_request_error", "content_filter",
        "The response was filtered due to the prompt triggering the content management policy."),
    ROW(400, "invalid_request_error", "unsupported_parameter",
        "Unsupported parameter: this model does not take it."),
    ROW(401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    ROW(402, "insufficient_quota", "billing_hard_limit_reached",
        "Billing hard limit has been reached."),
    ROW(403, "permission_error", "unsupported_country_region_territory",
        "Country, region, or territory not supported."),
    ROW(404, "invalid_request_error", "model_not_found",
        "The model does not exist or you do not have access to it."),
    ROW(408, "server_error", "timeout", "The request timed out."),
    ROW(409, "invalid_request_error", "conflict", "The resource is being changed by another."),
    ROW(413, "invalid_request_error", "request_too_large", "The request is too large."),
    ROW(422, "invalid_request_error", "unprocessable_entity", "The request cannot be processed."),
    ROW(429, "requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    ROW(429, "insufficient_quota", "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details."),
    ROW(500, "server_error", "server_error",
        "The server had an error while processing your request."),
    ROW(502, "server_error", "bad_gateway", "Bad gateway."),
    ROW(503, "server_error", "overloaded", "The engine is currently overloaded."),
    ROW(504, "server_error", "gateway_timeout", "Gateway timeout."),
    ROW(529, "server_error", "overloaded_error", "Overloaded."),
};

const struct mock_error *mock_error_of_code(struct span code)
{
    for (size_t i = 0; i < ARRAY_LEN(ERRORS); i++)
        if (span_eq(ERRORS[i].code, code))
            return &ERRORS[i];
    return NULL;
}

struct mock_error mock_error_of_status(int status)
{
    for (size_t i = 0; i < ARRAY_LEN(ERRORS); i++)
        if (ERRORS[i].status == status)
            return ERRORS[i];
    return (struct mock_error){
        .status = status,
        .type = status < 500 ? SPAN("invalid_request_error") : SPAN("server_error"),
        .message = SPAN("The mock was asked for this status."),
    };
}
