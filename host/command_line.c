/* What a command does with what has become of its arguments. */
#include "commands.h"

bool command_parsed(const struct command_line *line, int argc, char **argv, const char **operand,
                    enum exit_status *status)
{
    enum options_result result = options_parse(line, argc, argv, operand);

    if (result != OPTIONS_PARSED)
        *status = result == OPTIONS_HELP ? STATUS_DONE : STATUS_USAGE;
    return result == OPTIONS_PARSED;
}
