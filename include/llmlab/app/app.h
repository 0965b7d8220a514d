#ifndef LLMLAB_APP_APP_H
#define LLMLAB_APP_APP_H

/* The program: finds the command of the arguments (commands.def; none: serve) and runs it. Returns the exit code:
 * 0 done, 1 failed (told on stderr), 2 wrong arguments. */
int app_main(int argc, char **argv);

/* The commands, each in src/app/<name>_command.c. argv[0] is the command's name. */
#define COMMAND(name, arguments, help) int command_##name(int argc, char **argv);
#include "llmlab/app/commands.def"
#undef COMMAND

#endif
