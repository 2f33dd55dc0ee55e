// Command program is what the containers of the engines' tests run. All that it
// does is in enginetest; it is a program of its own so that it can be built
// statically and put into an image.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/latchkey/latchkey/internal/engine/enginetest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	os.Exit(enginetest.Main(ctx, enginetest.OfProcess()))
}
