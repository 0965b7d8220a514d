#ifndef LLMLAB_APP_SUPERVISOR_H
#define LLMLAB_APP_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>

/* What a supervisor (systemd, or anything that speaks its two small protocols) hands over and wants to know. */

/* The listening socket that was handed over by the protocol of sd_listen_fds(3): LISTEN_PID is this process, LISTEN_FDS is 1,
 * the socket is descriptor 3. *ret is -1 when there is none. The variables are removed from the environment, so that no
 * child believes they are meant for it. False, with the reason in message, when what is handed over is not one listening
 * TCP socket: starting on another port than the supervisor thinks would help nobody. */
bool supervisor_listen_fd(int *ret, char *message, size_t message_size);

/* Tells the state ("READY=1", "STOPPING=1") by the protocol of sd_notify(3) to the socket in NOTIFY_SOCKET; without one it does
 * nothing. Failures are not reported: nobody is there to hear of them. */
void supervisor_notify(const char *state);

#endif
