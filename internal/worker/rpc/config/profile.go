package config

import (
	"fmt"
	"regexp"
	"strings"
)

// profile replaces parts of a description where all its conditions hold.
type profile struct {
	ProfileName string
	Conditions  []condition
	Description description
}

// condition compares a variable of the environment, or a property of the host,
// with an expression.
type condition struct {
	ConditionType       string
	ConditionName       string
	ConditionExpression string
}

// apply gives the description with the first profile that holds laid over it.
func (d description) apply(profiles []profile, place *Place) (description, error) {
	for i := range profiles {
		holds, err := profiles[i].holds(place)
		if err != nil {
			return d, fmt.Errorf("profile %q: %w", profiles[i].ProfileName, err)
		}
		if holds {
			return d.over(&profiles[i].Description), nil
		}
	}
	return d, nil
}

func (p *profile) holds(place *Place) (bool, error) {
	if len(p.Conditions) == 0 {
		return false, fmt.Errorf("it has no conditions")
	}
	for _, c := range p.Conditions {
		var have string
		switch strings.ToLower(c.ConditionType) {
		case "environment":
			have = place.setting(c.ConditionName)
		case "hostproperty":
			have = place.property(c.ConditionName)
		default:
			return false, fmt.Errorf("conditionType %q is not environment or hostProperty", c.ConditionType)
		}
		expression, err := regexp.Compile(c.ConditionExpression)
		if err != nil {
			return false, fmt.Errorf("conditionExpression: %w", err)
		}
		if have == "" || !expression.MatchString(have) {
			return false, nil
		}
	}
	return true, nil
}

// over gives the description with what o gives in place of its own.
func (d description) over(o *description) description {
	for _, s := range []struct{ to, from **string }{
		{&d.DefaultExecutablePath, &o.DefaultExecutablePath}, {&d.DefaultWorkerPath, &o.DefaultWorkerPath},
		{&d.DefaultRuntimeName, &o.DefaultRuntimeName}, {&d.DefaultRuntimeVersion, &o.DefaultRuntimeVersion},
		{&d.SanitizeRuntimeVersionRegex, &o.SanitizeRuntimeVersionRegex},
	} {
		if value(*s.from) != "" {
			*s.to = *s.from
		}
	}
	for _, l := range []struct{ to, from *[]string }{
		{&d.Extensions, &o.Extensions}, {&d.SupportedRuntimeVersions, &o.SupportedRuntimeVersions},
		{&d.SupportedOperatingSystems, &o.SupportedOperatingSystems}, {&d.SupportedArchitectures, &o.SupportedArchitectures},
		{&d.Arguments, &o.Arguments}, {&d.WorkerArguments, &o.WorkerArguments},
	} {
		if len(*l.from) > 0 {
			*l.to = *l.from
		}
	}
	for _, f := range []struct{ to, from *flag }{
		{&d.WorkerIndexing, &o.WorkerIndexing}, {&d.UseStdErrorStreamForErrors, &o.UseStdErrorStreamForErrors}, {&d.IsDisabled, &o.IsDisabled},
	} {
		if f.from.set {
			*f.to = *f.from
		}
	}
	return d
}
