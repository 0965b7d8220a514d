/* The program's entry; everything else is in the libraries, where tests can reach it. */
#include "llmlab/app/app.h"

int main(int argc, char **argv)
{
	return app_main(argc, argv);
}
