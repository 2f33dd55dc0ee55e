// Command latchkey runs function apps the way Azure Functions does, with its
// security model. Everything it does is in package cli; it knows no flags itself.
package main

import (
	"os"

	"github.com/latchkey/latchkey/internal/cli"
)

func main() { os.Exit(cli.Main(cli.System())) }
