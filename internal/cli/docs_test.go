package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// TestDocsCoverTheCommandLine wants a heading for each command in docs/cli.md,
// and each of its flags in that section, so that neither can be forgotten.
func TestDocsCoverTheCommandLine(t *testing.T) {
	raw, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := sectionsOf(string(raw))
	for _, fault := range docFaults(newRoot(&Env{}), sections) {
		t.Error(fault)
	}
	for heading := range sections {
		if name, ok := strings.CutPrefix(heading, "latchkey "); ok && !known(newRoot(&Env{}), name) {
			t.Errorf("docs/cli.md describes %q, which is no command", heading)
		}
	}
}

func TestDocsCheckFindsWhatIsMissing(t *testing.T) {
	root := newRoot(&Env{})
	if got := docFaults(root, sectionsOf("## latchkey start\n`--host`")); len(got) < 20 {
		t.Errorf("%d faults in a page that has next to nothing", len(got))
	}
}

// sectionsOf gives the text below each heading, whatever its level.
func sectionsOf(page string) map[string]string {
	sections, heading := map[string]string{}, ""
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "##") {
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		}
		sections[heading] += line
	}
	return sections
}

func docFaults(c *cobra.Command, sections map[string]string) []string {
	var faults []string
	for _, sub := range c.Commands() {
		if sub.Hidden || sub.Name() == "help" {
			continue
		}
		text, ok := sections[sub.CommandPath()]
		if !ok {
			faults = append(faults, "docs/cli.md has no section "+sub.CommandPath())
		}
		sub.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !strings.Contains(text, "`--"+f.Name+"`") {
				faults = append(faults, sub.CommandPath()+": flag --"+f.Name+" is not in docs/cli.md")
			}
		})
		faults = append(faults, docFaults(sub, sections)...)
	}
	return faults
}

func known(root *cobra.Command, path string) bool {
	c, rest, err := root.Find(strings.Fields(path))
	return err == nil && len(rest) == 0 && c != root
}

// TestHelpIsComplete wants of every command what a reader needs.
func TestHelpIsComplete(t *testing.T) {
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: short help %q", c.CommandPath(), c.Short)
		}
		if !c.HasSubCommands() && !c.Hidden && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(newRoot(&Env{}))
}
