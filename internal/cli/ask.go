package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/latchkey/latchkey/internal/problem"
)

// mostInput bounds what is read as an answer or as a key's value.
const mostInput = 64 << 10

// askYes asks a person a question on standard error; anything but a clear yes
// is no. Callers make sure that there is a person.
func askYes(ctx context.Context, env *Env, question string) (bool, error) {
	fmt.Fprint(env.Stderr, question+" [y/N] ")
	line, err := bufio.NewReader(io.LimitReader(newStdin(ctx, env), mostInput)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(env.Stderr)
		return false, problem.Wrap(problem.Unavailable, "the answer cannot be read", err)
	}
	answer := strings.ToLower(strings.TrimSpace(line))
	return answer == "y" || answer == "yes", nil
}

// confirm makes sure that something that cannot be undone is wanted.
func confirm(ctx context.Context, env *Env, yes bool, consequence, question string) error {
	if yes {
		return nil
	}
	if !env.Prompt {
		return usageError{problem.New(problem.Invalid, "this needs --yes, because nobody can be asked: "+consequence).
			WithNext("add --yes if that is what you want")}
	}
	fmt.Fprintln(env.Stderr, consequence)
	ok, err := askYes(ctx, env, question)
	if err != nil {
		return err
	}
	if !ok {
		return problem.New(problem.Conflict, "nothing was changed")
	}
	return nil
}

// readSecret reads a value that must not show: typed unseen on a terminal, else
// all of standard input without the line end.
func readSecret(ctx context.Context, env *Env, prompt string) (string, error) {
	file, ok := env.Stdin.(*os.File)
	if !ok || !env.Prompt {
		return readValue(newStdin(ctx, env), "standard input")
	}
	fmt.Fprint(env.Stderr, prompt)
	value, err := readHidden(ctx, file)
	fmt.Fprintln(env.Stderr)
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, "the value cannot be read", err)
	}
	return value, nil
}

func readValue(r io.Reader, from string) (string, error) {
	raw, err := io.ReadAll(io.LimitReader(r, mostInput))
	if err != nil {
		return "", problem.Wrap(problem.Unavailable, from+" cannot be read", err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(raw), "\n"), "\r"), nil
}
