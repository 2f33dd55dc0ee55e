package cli

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"
)

// versionInfo is the JSON form of the version.
type versionInfo struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func newVersion(env *Env) *cobra.Command {
	out := tableOrJSON()
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  latchkey version\n  latchkey version --output json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if out.is(formJSON) {
				return writeJSON(env.Stdout, versionInfo{version, runtime.Version(), runtime.GOOS, runtime.GOARCH})
			}
			_, err := fmt.Fprintln(env.Stdout, "latchkey "+version)
			return err
		},
	}
	out.addTo(c)
	return c
}
