package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
)

func newContainerIngress(env *Env) *cobra.Command {
	return newGroup("ingress", "Say how requests come to a container app",
		newIngressChange(env, "enable", true), newIngressChange(env, "update", false), newIngressDisable(env), newIngressShow(env),
		newGroup("traffic", "Share requests out among revisions", newTrafficSet(env), newTrafficShow(env)))
}

func newIngressChange(env *Env, action string, enable bool) *cobra.Command {
	f := newContainerFlags(env)
	m := &madeFlags{containerFlags: f}
	c := &cobra.Command{
		Use:     action,
		Short:   "Change how requests come to a container app",
		Example: "  latchkey containerapp ingress update orders --target-port 9090",
		RunE: func(cmd *cobra.Command, args []string) error {
			if enable && (m.ingress == "" || m.targetPort == 0) {
				return usageError{errors.New("say --type external or internal, and --target-port PORT")}
			}
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error {
				if _, err := a.Ingress(); err != nil && !enable {
					return err
				}
				err := m.applyIngress(a)
				if g := a.Properties.Configuration.Ingress; g != nil && cmd.Flags().Changed("allow-insecure") {
					g.AllowInsecure = m.insecure
				}
				return err
			})
			if err != nil {
				return err
			}
			return f.printIngress(a)
		},
	}
	if enable {
		c.Short, c.Example = "Let requests come to a container app", "  latchkey containerapp ingress enable orders --type external --target-port 8080"
	}
	f.addTo(c)
	c.Flags().StringVar(&m.ingress, "type", "", "who can send requests: external or internal")
	c.Flags().IntVar(&m.targetPort, "target-port", 0, "port that the container listens at")
	c.Flags().IntVar(&m.exposedPort, "exposed-port", 0, "port that tcp clients use")
	c.Flags().StringVar(&m.transport, "transport", "", "auto, http, http2 or tcp")
	c.Flags().BoolVar(&m.insecure, "allow-insecure", false, "answer http as well as https")
	return c
}

func newIngressDisable(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "disable",
		Short:   "Let no requests come to a container app any more",
		Example: "  latchkey containerapp ingress disable orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { a.Properties.Configuration.Ingress = nil; return nil })
			if err != nil {
				return err
			}
			return f.said(a.Shown, "no requests come to %s any more", a.Name)
		},
	}
	f.addTo(c)
	return c
}

func newIngressShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show how requests come to a container app",
		Example: "  latchkey containerapp ingress show orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.printIngress(a)
		},
	}
	f.addTo(c)
	return c
}

func (f *containerFlags) printIngress(a containerapps.App) error {
	g, err := a.Ingress()
	if err != nil {
		return err
	}
	return f.print(g, func() error {
		return writeFacts(f.env.Stdout, append([][2]string{{"url", a.URL()}, {"ingress", ingressText(g)}}, trafficFacts(g)...))
	})
}

func ingressText(g *containerapp.Ingress) string {
	who := "internal"
	if g.External {
		who = "external"
	}
	text := fmt.Sprintf("%s to port %d, %s", who, g.TargetPort, orText(g.Transport, "auto"))
	if g.AllowInsecure {
		text += ", http as well"
	}
	return text
}

func trafficFacts(g *containerapp.Ingress) [][2]string {
	var facts [][2]string
	for _, t := range g.Traffic {
		text := strconv.Itoa(t.Weight) + "%"
		if t.Label != "" {
			text += ", label " + t.Label
		}
		facts = append(facts, [2]string{"to " + trafficName(t), text})
	}
	return facts
}

func trafficName(t containerapp.Traffic) string {
	if t.LatestRevision {
		return "the newest revision"
	}
	return t.RevisionName
}

func newTrafficShow(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show how requests are shared out among revisions",
		Example: "  latchkey containerapp ingress traffic show orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			_, a, err := f.find(cmd.Context(), args)
			if err != nil {
				return err
			}
			return f.printTraffic(a)
		},
	}
	f.addTo(c)
	return c
}

func (f *containerFlags) printTraffic(a containerapps.App) error {
	g, err := a.Ingress()
	if err != nil {
		return err
	}
	list := slices.Clone(g.Traffic)
	if list == nil {
		list = []containerapp.Traffic{}
	}
	return f.print(list, func() error {
		var rows [][]string
		for _, t := range list {
			rows = append(rows, []string{orText(t.RevisionName, "latest"), strconv.Itoa(t.Weight) + "%", dash(t.Label)})
		}
		return writeTable(f.env.Stdout, "REVISION TRAFFIC LABEL", rows)
	})
}

func newTrafficSet(env *Env) *cobra.Command {
	f := newContainerFlags(env)
	var revisions, labels []string
	c := &cobra.Command{
		Use:   "set",
		Short: "Share requests out among revisions; those that are not named get none",
		Example: "  latchkey containerapp ingress traffic set orders --revision-weight latest=20 orders--abc1234=80\n" +
			"  latchkey containerapp ingress traffic set orders --label-weight blue=100",
		RunE: func(cmd *cobra.Command, args []string) error {
			byRevision, err := shares(revisions, "--revision-weight")
			if err != nil {
				return err
			}
			byLabel, err := shares(labels, "--label-weight")
			if err != nil {
				return err
			}
			if len(byRevision)+len(byLabel) == 0 {
				return usageError{errors.New("say --revision-weight REVISION=PERCENT or --label-weight LABEL=PERCENT")}
			}
			_, a, err := f.change(cmd.Context(), args, func(a *containerapps.App) error { return a.SetTraffic(byRevision, byLabel) })
			if err != nil {
				return err
			}
			return f.printTraffic(a)
		},
	}
	f.addTo(c)
	c.Flags().StringArrayVar(&revisions, "revision-weight", nil, "share of a revision, or of latest: REVISION=PERCENT; may be repeated")
	c.Flags().StringArrayVar(&labels, "label-weight", nil, "share of what has a label: LABEL=PERCENT; may be repeated")
	return c
}

func shares(texts []string, flag string) ([]containerapps.Share, error) {
	var list []containerapps.Share
	for _, text := range texts {
		name, percent, ok := strings.Cut(text, "=")
		weight, err := strconv.Atoi(percent)
		if !ok || name == "" || err != nil || weight < 0 || weight > 100 {
			return nil, usageError{fmt.Errorf("%s: write each as NAME=PERCENT, such as latest=20", flag)}
		}
		list = append(list, containerapps.Share{Name: name, Weight: weight})
	}
	return list, nil
}
