package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/latchkey/latchkey/internal/atomicfile"
	"github.com/latchkey/latchkey/internal/cli/containerapps"
	"github.com/latchkey/latchkey/internal/containerapp"
	"github.com/latchkey/latchkey/internal/problem"
)

// madeFlags say what an app is made with besides its template.
type madeFlags struct {
	*containerFlags
	template templateFlags

	location, environment, ingress, transport, mode, profile string
	targetPort, exposedPort                                  int
	insecure, system, noWait                                 bool
	users, secrets, tags                                     []string
	registry                                                 registryFlags
	digest                                                   string // of the folder that is the image, if it names the revision
}

func newMadeFlags(env *Env) *madeFlags { return &madeFlags{containerFlags: newContainerFlags(env)} }

func (f *madeFlags) addTo(c *cobra.Command) {
	f.containerFlags.addTo(c)
	f.template.addTo(c)
	f.template.addNewEnv(c)
	f.registry.addTo(c, true)
	fl := c.Flags()
	fl.StringVar(&f.location, "location", "local", "location of what is made")
	fl.StringVar(&f.environment, "environment", "", "environment of the app, by name or id (default: the only one)")
	fl.StringVar(&f.ingress, "ingress", "", "who can send requests: external or internal")
	fl.IntVar(&f.targetPort, "target-port", 0, "port that the container listens at")
	fl.IntVar(&f.exposedPort, "exposed-port", 0, "port that tcp clients use")
	fl.StringVar(&f.transport, "transport", "", "auto, http, http2 or tcp")
	fl.BoolVar(&f.insecure, "allow-insecure", false, "answer http as well as https")
	fl.StringVar(&f.mode, "revisions-mode", "", "single or multiple active revisions")
	fl.StringVar(&f.profile, "workload-profile-name", "", "workload profile of the environment to run on")
	fl.BoolVar(&f.system, "system-assigned", false, "give the app an identity of its own")
	fl.StringArrayVar(&f.users, "user-assigned", nil, "give the app this identity, by name or id; may be repeated")
	fl.StringArrayVar(&f.secrets, "secrets", nil, "secrets: NAME=@FILE, NAME=-, NAME=VALUE or NAME=keyvaultref:URL,identityref:ID; may be repeated")
	fl.StringArrayVar(&f.tags, "tags", nil, "tags: K=V; may be repeated")
	fl.BoolVar(&f.noWait, "no-wait", false, "do not wait until the revision is ready")
}

func newContainerCreate(env *Env) *cobra.Command {
	f := newMadeFlags(env)
	var file string
	c := &cobra.Command{
		Use:   "create",
		Short: "Create a container app from an image",
		Example: "  latchkey containerapp create orders --image registry.example/orders:1 --ingress external --target-port 8080\n" +
			"  latchkey containerapp create -n orders -g apps --environment apps --image ./orders --env-vars A=1 B=secretref:db --secrets db=@db.txt",
		RunE: func(cmd *cobra.Command, args []string) error { return f.create(cmd.Context(), args, file) },
	}
	f.addTo(c)
	c.Flags().StringVar(&file, "yaml", "", "file with the app as the API has it, in YAML or JSON; flags come on top")
	return c
}

func (f *madeFlags) create(ctx context.Context, args []string, file string) error {
	name, err := f.named(args)
	if err != nil {
		return err
	}
	a, err := readContainerYAML(file)
	if err != nil {
		return err
	}
	a.Name = name
	client, err := f.client(ctx)
	if err != nil {
		return err
	}
	if f.group == "" {
		f.group = defaultGroup
	}
	if f.environment != "" || a.Properties.EnvironmentID == "" {
		e, err := f.anEnvironment(ctx, client)
		if err != nil {
			return err
		}
		a.Properties.EnvironmentID, a.Location = e.ID, e.Location
	}
	if err := f.applyAll(ctx, &a, true); err != nil {
		return err
	}
	if len(a.Properties.Template.Containers) == 0 || a.Properties.Template.Containers[0].Image == "" {
		return usageError{problem.New(problem.Invalid, "say which image the app runs").WithNext("--image NAME:TAG, or latchkey containerapp up " + shellWord(name) + " --source FOLDER to build one")}
	}
	if err := client.EnsureGroup(ctx, f.group, f.location); err != nil {
		return err
	}
	if a, err = client.Create(ctx, f.group, name, a); err != nil {
		return err
	}
	f.tell("created %s in group %s", a.Name, a.Group)
	return f.finish(ctx, client, a)
}

// anEnvironment gives the environment that is meant: the one that was named, or the
// only one there is.
func (f *madeFlags) anEnvironment(ctx context.Context, client *containerapps.Client) (containerapps.Environment, error) {
	if f.environment != "" {
		return client.Environment(ctx, f.environment, "")
	}
	all, err := client.Environments(ctx, "")
	switch {
	case err != nil:
		return containerapps.Environment{}, err
	case len(all) == 1:
		return all[0], nil
	case len(all) == 0:
		return containerapps.Environment{}, problem.New(problem.NotFound, "there is no environment for container apps").WithNext("latchkey containerapp env create " + defaultGroup)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name)
	}
	return containerapps.Environment{}, usageError{errors.New("say which --environment: " + strings.Join(names, ", "))}
}

// applyAll changes an app as the flags say.
func (f *madeFlags) applyAll(ctx context.Context, a *containerapps.App, created bool) error {
	if a.Location == "" {
		a.Location = f.location
	}
	if err := f.template.resolve(ctx, f.containerFlags); err != nil {
		return err
	}
	if err := f.template.apply(a, created); err != nil {
		return err
	}
	if err := f.applyIngress(a); err != nil {
		return err
	}
	if err := f.applyTags(a); err != nil {
		return err
	}
	if f.mode != "" {
		mode, err := revisionMode(f.mode)
		if err != nil {
			return err
		}
		a.Properties.Configuration.Mode = mode
	}
	if f.profile != "" {
		a.Properties.WorkloadProfile = &f.profile
	}
	secrets, err := f.readSecrets(ctx, f.secrets)
	if err != nil {
		return err
	}
	for i := range secrets {
		if secrets[i].Identity, err = f.identityID(ctx, secrets[i].Identity); err != nil {
			return err
		}
	}
	a.SetSecrets(secrets)
	users, err := f.identityIDs(ctx, f.users)
	if err != nil {
		return err
	}
	if f.system || len(users) > 0 {
		a.Assign(f.system, users)
	}
	return f.registry.apply(ctx, f.containerFlags, a)
}

func (f *madeFlags) applyTags(a *containerapps.App) error {
	tags, err := pairs(f.tags, "--tags")
	if err != nil {
		return usageError{err}
	}
	if len(tags) > 0 {
		a.Tags = tags
	}
	return nil
}

func revisionMode(text string) (containerapp.Mode, error) {
	for _, m := range []containerapp.Mode{containerapp.Single, containerapp.Multiple} {
		if strings.EqualFold(string(m), text) {
			return m, nil
		}
	}
	return "", usageError{errors.New("the mode of revisions is single or multiple")}
}

func (f *madeFlags) applyIngress(a *containerapps.App) error {
	if f.ingress == "" && f.targetPort == 0 && f.exposedPort == 0 && f.transport == "" && !f.insecure {
		return nil
	}
	g := a.Properties.Configuration.Ingress
	switch {
	case f.ingress == "" && g == nil:
		return usageError{errors.New("--target-port, --transport, --exposed-port and --allow-insecure need --ingress external or internal")}
	case f.ingress != "" && f.ingress != "external" && f.ingress != "internal":
		return usageError{errors.New("--ingress is external or internal")}
	case g == nil:
		g = &containerapp.Ingress{Transport: "auto"}
		a.Properties.Configuration.Ingress = g
	}
	if f.ingress != "" {
		g.External = f.ingress == "external"
	}
	if f.targetPort != 0 {
		g.TargetPort = f.targetPort
	}
	if f.exposedPort != 0 {
		g.ExposedPort = f.exposedPort
	}
	if f.transport != "" {
		g.Transport = f.transport
	}
	g.AllowInsecure = g.AllowInsecure || f.insecure
	return nil
}

// finish waits for what was made and shows it.
func (f *madeFlags) finish(ctx context.Context, client *containerapps.Client, a containerapps.App) error {
	if !f.noWait {
		var err error
		if a, err = f.await(ctx, client, a.ID); err != nil {
			return err
		}
	}
	return f.print(a.Shown, func() error { return writeFacts(f.env.Stdout, containerFacts(a)) })
}

// await waits for the newest revision, and says what its containers wrote if it
// fails.
func (f *containerFlags) await(ctx context.Context, client *containerapps.Client, id string) (containerapps.App, error) {
	a, err := client.Await(ctx, id, func(step string) { f.tell("%s", step) })
	if errors.Is(err, problem.Conflict) {
		f.tellWhy(ctx, client, a)
	}
	return a, err
}

const maxContainerYAML = 1 << 20

// readContainerYAML reads an app from a file; without one it is empty.
func readContainerYAML(file string) (containerapps.App, error) {
	a := containerapps.App{}
	a.Properties.Configuration, a.Properties.Template = &containerapp.Configuration{}, &containerapp.Template{}
	if file == "" {
		return a, nil
	}
	text, err := atomicfile.Read(file, maxContainerYAML)
	if err != nil {
		return a, problem.Wrap(problem.NotFound, "the file for --yaml cannot be read", err)
	}
	raw, err := yaml.YAMLToJSON(text)
	if err == nil {
		err = json.Unmarshal(raw, &a)
	}
	if err != nil {
		return a, problem.Wrap(problem.Invalid, fmt.Sprintf("%.200q is no container app", file), err).WithNext("it looks like what latchkey containerapp show --output json prints")
	}
	if a.Properties.EnvironmentID == "" {
		a.Properties.EnvironmentID = a.Properties.ManagedEnvironmentID
	}
	return a, nil
}

func newContainerUpdate(env *Env) *cobra.Command {
	f, t := newContainerFlags(env), &templateFlags{}
	var tags []string
	var file string
	var noWait bool
	c := &cobra.Command{
		Use:   "update",
		Short: "Change what a container app runs: a new revision, if the template changes",
		Example: "  latchkey containerapp update orders --image registry.example/orders:2\n" +
			"  latchkey containerapp update orders --set-env-vars GREETING=Hello --remove-env-vars OLD --min-replicas 1",
		RunE: func(cmd *cobra.Command, args []string) error {
			return updateContainer(cmd.Context(), &madeFlags{containerFlags: f, template: *t, tags: tags, noWait: noWait}, args, file)
		},
	}
	f.addTo(c)
	t.addTo(c)
	t.addEnvChanges(c)
	c.Flags().StringArrayVar(&tags, "tags", nil, "tags in place of those there are: K=V; may be repeated")
	c.Flags().StringVar(&file, "yaml", "", "file with the app as the API has it, in YAML or JSON, in place of what it is; flags come on top")
	c.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until the revision is ready")
	return c
}

func updateContainer(ctx context.Context, f *madeFlags, args []string, file string) error {
	client, a, err := f.find(ctx, args)
	if err != nil {
		return err
	}
	if err := f.template.resolve(ctx, f.containerFlags); err != nil {
		return err
	}
	before := a.Properties.Latest
	a, err = client.Change(ctx, a.ID, func(a *containerapps.App) error {
		if file != "" {
			said, err := readContainerYAML(file)
			if err != nil {
				return err
			}
			said.Name, said.Location = a.Name, a.Location
			*a = said
		}
		return errors.Join(f.applyTags(a), f.template.apply(a, false))
	})
	if err != nil {
		return err
	}
	if a.Properties.Latest == before {
		f.tell("the template is what it was: revision %s stays", before)
	}
	return f.finish(ctx, client, a)
}
