#ifndef LLMLAB_API_EMAIL_H
#define LLMLAB_API_EMAIL_H

/* Why the text cannot be an e-mail address, as a message for the field; NULL if it may be one. A check
 * against slips, not of RFC 5321's grammar: one @, 1 to 64 bytes before it, a domain of dot-separated labels
 * of letters, digits, hyphens (or other than ASCII) after it, 254 bytes in all, no white space and no control
 * characters. Static. */
const char *email_problem(const char *text);

#endif
