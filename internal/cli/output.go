package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Forms of output.
const (
	formTable = "table"
	formJSON  = "json"
	formSARIF = "sarif"
)

// choice is a flag with few allowed values.
type choice struct {
	value   string
	allowed []string
}

func tableOrJSON() *choice { return &choice{formTable, []string{formTable, formJSON}} }

func (c *choice) is(form string) bool { return c.value == form }

// String, Set and Type make choice a flag value.
func (c *choice) String() string { return c.value }

// Type names the value in help texts.
func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

// Set accepts the allowed values only.
func (c *choice) Set(text string) error {
	if !slices.Contains(c.allowed, text) {
		return fmt.Errorf("use %s", strings.Join(c.allowed, ", "))
	}
	c.value = text
	return nil
}

// addTo makes c the --output flag of a command.
func (c *choice) addTo(cmd *cobra.Command) { c.addAs(cmd, "output", "form of the output") }

func (c *choice) addAs(cmd *cobra.Command, name, usage string) {
	short := ""
	if name == "output" {
		short = "o"
	}
	cmd.Flags().VarP(c, name, short, usage)
	complete := cobra.FixedCompletions(c.allowed, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc(name, complete) // fails for a flag that is not there only
}

func writeJSON(w io.Writer, v any) error {
	var raw bytes.Buffer
	e := json.NewEncoder(&raw)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := io.WriteString(w, visibleJSON(raw.String()))
	return err
}

// writeTable writes a heading and rows in columns.
func writeTable(w io.Writer, heading string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(strings.Fields(heading), "\t"))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = printable(cell)
		}
		fmt.Fprintln(t, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	return t.Flush()
}

// writeFacts writes what is known of one thing, a fact on each line. Facts that
// are empty are left out.
func writeFacts(w io.Writer, facts [][2]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, f := range facts {
		if f[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", f[0], printable(f[1]))
		}
	}
	return t.Flush()
}
