/* Lines typed by a user: editing, history and completion by libedit where it was built in, else plain lines.
 *
 * The prompt goes to stderr: stdout is for answers. Several lines that arrive at once are a paste, and one text.
 */
#ifndef MO_CLI_LINE_EDITOR_H
#define MO_CLI_LINE_EDITOR_H

#include <stdbool.h>

#include "core/buf.h"

typedef struct line_editor line_editor;

typedef enum line_result { LINE_TEXT, LINE_CANCELLED, LINE_END } line_result; /* Ctrl-C on a line that has text; end of input */

/* commands: what completes a line that begins with '/', each followed by a file name if it ends in a space; ends in NULL;
 * stays the caller's. NULL: no memory. */
line_editor *line_editor_open(const char *const *commands);
void line_editor_close(line_editor *e); /* accepts NULL; keeps the history, if it can be written */

/* The next text, without its last newline. */
line_result line_editor_read(line_editor *e, buf *out);

/* "~/x" with the home folder put in, quotes around the whole taken away. mo_free; NULL: no memory. */
char *path_as_typed(const char *typed);

#endif
