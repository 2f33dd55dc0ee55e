package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// templateFlags say what a revision is made from. What is not said stays.
type templateFlags struct {
	cmd                              *cobra.Command
	image, container, memory, suffix string
	cpu                              float64
	env, setEnv, removeEnv, replace  []string
	removeAll                        bool
	command, args                    []string
	min, max, grace                  int
	rule, ruleType, ruleIdentity     string
	ruleMetadata, ruleAuth           []string
	httpConcurrency, tcpConcurrency  int
	volumeMount                      string
}

func (f *templateFlags) addTo(c *cobra.Command) {
	f.cmd = c
	fl := c.Flags()
	fl.StringVarP(&f.image, "image", "i", "", "image of the container: NAME:TAG, or a folder with a container.json for the process engine")
	fl.StringVar(&f.container, "container-name", "", "name of the container (default: the first one, for a new app the app's name)")
	fl.Float64Var(&f.cpu, "cpu", 0, "cores of the container, such as 0.5")
	fl.StringVar(&f.memory, "memory", "", "memory of the container, such as 1Gi")
	fl.StringVar(&f.suffix, "revision-suffix", "", "what the name of the revision ends in (default: chosen)")
	fl.StringArrayVar(&f.command, "command", nil, "command in place of the image's, one word each")
	fl.StringArrayVar(&f.args, "args", nil, "arguments in place of the image's, one each")
	fl.IntVar(&f.min, "min-replicas", 0, "fewest replicas; 0 lets it scale to nothing")
	fl.IntVar(&f.max, "max-replicas", 0, "most replicas")
	fl.IntVar(&f.grace, "termination-grace-period", 0, "seconds that containers have to end")
	fl.StringVar(&f.rule, "scale-rule-name", "", "name of a scale rule to set")
	fl.StringVar(&f.ruleType, "scale-rule-type", "http", "its type: http, tcp, azure-queue, cpu, memory or another scaler's")
	fl.StringArrayVar(&f.ruleMetadata, "scale-rule-metadata", nil, "its settings: K=V; may be repeated")
	fl.StringArrayVar(&f.ruleAuth, "scale-rule-auth", nil, "its secrets: PARAMETER=SECRET; may be repeated")
	fl.StringVar(&f.ruleIdentity, "scale-rule-identity", "", "identity that it asks with: system, a name or an id")
	fl.IntVar(&f.httpConcurrency, "scale-rule-http-concurrency", 0, "requests at a time per replica, for type http")
	fl.IntVar(&f.tcpConcurrency, "scale-rule-tcp-concurrency", 0, "connections at a time per replica, for type tcp")
	fl.StringVar(&f.volumeMount, "secret-volume-mount", "", "folder where the container finds all secrets as files")
}

// addNewEnv adds the flag for variables of an app that is made.
func (f *templateFlags) addNewEnv(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.env, "env-vars", nil, "variables: NAME=VALUE or NAME=secretref:SECRET; may be repeated")
}

// addEnvChanges adds the flags for changes of variables.
func (f *templateFlags) addEnvChanges(c *cobra.Command) {
	fl := c.Flags()
	fl.StringArrayVar(&f.setEnv, "set-env-vars", nil, "variables to set: NAME=VALUE or NAME=secretref:SECRET; others stay; may be repeated")
	fl.StringArrayVar(&f.removeEnv, "remove-env-vars", nil, "variables to take away, by name; may be repeated")
	fl.StringArrayVar(&f.replace, "replace-env-vars", nil, "variables in place of all there are; may be repeated")
	fl.BoolVar(&f.removeAll, "remove-all-env-vars", false, "take all variables away")
}

func (f *templateFlags) said(flag string) bool { return f.cmd.Flags().Changed(flag) }

// resolve finds the identity that is named, which apply needs.
func (f *templateFlags) resolve(ctx context.Context, in *containerFlags) (err error) {
	f.ruleIdentity, err = in.identityID(ctx, f.ruleIdentity)
	return err
}

// apply changes an app's template. The suffix of the revision before is not kept:
// two revisions cannot have the same.
func (f *templateFlags) apply(a *containerapps.App, created bool) error {
	t := a.Properties.Template
	t.RevisionSuffix = f.suffix
	c, err := a.Container(f.container, created || f.image != "")
	if err != nil {
		return err
	}
	if f.image != "" {
		c.Image = folderImage(f.image)
	}
	if f.said("command") {
		c.Command = f.command
	}
	if f.said("args") {
		c.Args = f.args
	}
	f.applyResources(c)
	if err := f.applyEnv(c); err != nil {
		return usageError{err}
	}
	if f.volumeMount != "" {
		mountSecrets(t, c, f.volumeMount)
	}
	if f.said("termination-grace-period") {
		t.TerminationGrace = &f.grace
	}
	return f.applyScale(a, t)
}

// folderImage makes the image a whole path if it is a folder of this machine.
func folderImage(image string) string {
	if _, err := os.Stat(filepath.Join(image, imageFile)); err != nil {
		return image
	}
	if whole, err := filepath.Abs(image); err == nil {
		return whole
	}
	return image
}

func (f *templateFlags) applyResources(c *containerapp.Container) {
	if !f.said("cpu") && !f.said("memory") {
		return
	}
	r := containerapp.Resources{CPU: 0.5, Memory: "1Gi"}
	if c.Resources != nil {
		r = *c.Resources
	}
	switch {
	case f.said("cpu") && f.said("memory"):
		r.CPU, r.Memory = f.cpu, f.memory
	case f.said("cpu"): // memory goes with it
		r.CPU, r.Memory = f.cpu, strconv.FormatFloat(f.cpu*2, 'f', -1, 64)+"Gi"
	default:
		r.Memory = f.memory
	}
	r.EphemeralStorage = ""
	c.Resources = &r
}

func (f *templateFlags) applyEnv(c *containerapp.Container) error {
	if f.removeAll || f.said("replace-env-vars") {
		c.Env = nil
	}
	return errors.Join(containerapps.RemoveEnv(c, f.removeEnv),
		containerapps.SetEnv(c, slices.Concat(f.env, f.replace, f.setEnv)))
}

func mountSecrets(t *containerapp.Template, c *containerapp.Container, at string) {
	const name = "secrets"
	if !slices.ContainsFunc(t.Volumes, func(v containerapp.Volume) bool { return v.Name == name }) {
		t.Volumes = append(t.Volumes, containerapp.Volume{Name: name, StorageType: "Secret"})
	}
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(m containerapp.VolumeMount) bool { return m.VolumeName == name })
	c.VolumeMounts = append(c.VolumeMounts, containerapp.VolumeMount{VolumeName: name, MountPath: at})
}

func (f *templateFlags) applyScale(a *containerapps.App, t *containerapp.Template) error {
	if !f.said("min-replicas") && !f.said("max-replicas") && f.rule == "" {
		return nil
	}
	if t.Scale == nil {
		t.Scale = &containerapp.Scale{}
	}
	if f.said("min-replicas") {
		t.Scale.MinReplicas = &f.min
	}
	if f.said("max-replicas") {
		t.Scale.MaxReplicas = &f.max
	}
	if f.rule == "" {
		return nil
	}
	rule, err := f.scaleRule()
	if err != nil {
		return usageError{err}
	}
	t.Scale.Rules = slices.DeleteFunc(t.Scale.Rules, func(r containerapp.ScaleRule) bool { return r.Name == rule.Name })
	t.Scale.Rules = append(t.Scale.Rules, rule)
	return nil
}

func (f *templateFlags) scaleRule() (containerapp.ScaleRule, error) {
	r := containerapp.ScaleRule{Name: f.rule}
	metadata, err := pairs(f.ruleMetadata, "--scale-rule-metadata")
	if err != nil {
		return r, err
	}
	secrets, err := pairs(f.ruleAuth, "--scale-rule-auth")
	if err != nil {
		return r, err
	}
	var auth []containerapp.ScaleAuth
	for _, parameter := range sortedNames(secrets) {
		auth = append(auth, containerapp.ScaleAuth{SecretRef: secrets[parameter], TriggerParameter: parameter})
	}
	switch strings.ToLower(f.ruleType) {
	case "http":
		r.HTTP = &containerapp.HTTPRule{Metadata: withNumber(metadata, "concurrentRequests", f.httpConcurrency), Auth: auth, Identity: f.ruleIdentity}
	case "tcp":
		r.TCP = &containerapp.HTTPRule{Metadata: withNumber(metadata, "concurrentConnections", f.tcpConcurrency), Auth: auth, Identity: f.ruleIdentity}
	case "azure-queue":
		length, err := strconv.Atoi(orText(metadata["queueLength"], "5"))
		if err != nil {
			return r, errors.New("--scale-rule-metadata: queueLength is no number")
		}
		r.AzureQueue = &containerapp.QueueRule{AccountName: metadata["accountName"], QueueName: metadata["queueName"], QueueLength: length, Auth: auth, Identity: f.ruleIdentity}
	default:
		r.Custom = &containerapp.CustomRule{Type: f.ruleType, Metadata: metadata, Auth: auth, Identity: f.ruleIdentity}
	}
	return r, nil
}

func withNumber(m map[string]string, name string, n int) map[string]string {
	if n > 0 {
		m[name] = strconv.Itoa(n)
	}
	return m
}

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

func sortedNames(m map[string]string) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// pairs reads K=V texts.
func pairs(texts []string, flag string) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range texts {
		k, v, ok := strings.Cut(text, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%s: write each as K=V", flag)
		}
		m[k] = v
	}
	return m, nil
}

// readSecrets reads secrets as flags have them: NAME=VALUE; NAME=@file; NAME=- for
// standard input; NAME=@@text for a value that begins with an at sign;
// NAME=keyvaultref:URL,identityref:ID for one in a vault.
func (f *containerFlags) readSecrets(ctx context.Context, texts []string) ([]containerapp.Secret, error) {
	var list []containerapp.Secret
	stdinTaken := false
	for _, text := range texts {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			// The text is left out: it could be a value.
			return nil, usageError{problem.New(problem.Invalid, "a secret is not NAME=VALUE").WithNext("write it as NAME=@file, NAME=-, NAME=VALUE or NAME=keyvaultref:URL,identityref:ID")}
		}
		if slices.ContainsFunc(list, func(s containerapp.Secret) bool { return s.Name == name }) {
			return nil, usageError{errors.New("secret " + printable(name) + " is given twice")}
		}
		if value == "-" && stdinTaken {
			return nil, usageError{errors.New("only one secret can come from standard input")}
		}
		stdinTaken = stdinTaken || value == "-"
		s, err := f.readSecret(ctx, name, value)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (f *containerFlags) readSecret(ctx context.Context, name, value string) (containerapp.Secret, error) {
	if had, ok := f.secretsRead[name+"="+value]; ok { // what was read is gone from standard input
		return had, nil
	}
	s, err := f.newSecret(ctx, name, value)
	if err == nil {
		if f.secretsRead == nil {
			f.secretsRead = map[string]containerapp.Secret{}
		}
		f.secretsRead[name+"="+value] = s
	}
	return s, err
}

func (f *containerFlags) newSecret(ctx context.Context, name, value string) (containerapp.Secret, error) {
	s := containerapp.Secret{Name: name}
	if ref, is := strings.CutPrefix(value, "keyvaultref:"); is {
		url, identity, ok := strings.Cut(ref, ",identityref:")
		if !ok || url == "" || identity == "" {
			return s, usageError{problem.New(problem.Invalid, "secret "+printable(name)+" does not say which identity reads it").WithNext("write it as NAME=keyvaultref:URL,identityref:ID, where ID is system or an identity's id")}
		}
		s.KeyVaultURL, s.Identity = url, identity
		return s, nil
	}
	var err error
	switch {
	case value == "-":
		value, err = readSecret(ctx, f.env, "value of secret "+printable(name)+": ")
	case strings.HasPrefix(value, "@@"):
		value = value[1:]
	case strings.HasPrefix(value, "@"):
		value, err = readSecretFile(value[1:])
	default:
		f.tell("warning: the value of secret %s is on the command line, where the shell's history and other users of this machine can see it; write %s=@FILE or %s=- instead", name, name, name)
	}
	s.Value = &value
	return s, err
}
