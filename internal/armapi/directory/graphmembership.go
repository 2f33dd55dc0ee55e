package directory

import (
	"net/http"
	"slices"
	"strings"

	"github.com/latchkey/latchkey/internal/armapi/arm"
)

// maxChecked is the most groups of one checkMemberGroups.
const maxChecked = 20

// groupsOf gives the groups that the object of a call is in, through others too.
func (s *Service) groupsOf(c *arm.Call) ([]string, error) {
	if _, err := s.graphObject(c, c.Params["object"]); err != nil {
		return nil, graphProblem(err)
	}
	return s.cfg.Groups.Of(c.Context(), c.Params["object"])
}

func (s *Service) graphAllMemberOf(c *arm.Call) (arm.Reply, error) {
	of, err := s.groupsOf(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return s.graphObjects(c, of)
}

// graphMemberOf lists the groups that the object itself is a member of.
func (s *Service) graphMemberOf(c *arm.Call) (arm.Reply, error) {
	of, err := s.groupsOf(c)
	if err != nil {
		return arm.Reply{}, err
	}
	all, err := s.cfg.Groups.List(c.Context())
	if err != nil {
		return arm.Reply{}, err
	}
	list, who := []map[string]any{}, strings.ToLower(c.Params["object"])
	for _, g := range all {
		if slices.Contains(of, g.ObjectID) && slices.Contains(g.Members, who) {
			list = append(list, showGraphGroup(g))
		}
	}
	return graphAnswer("directoryObjects", list), nil
}

func (s *Service) graphMemberGroups(c *arm.Call) (arm.Reply, error) {
	of, err := s.groupsOf(c)
	if err != nil {
		return arm.Reply{}, err
	}
	return idsAnswer(of), nil
}

func (s *Service) graphCheckGroups(c *arm.Call) (arm.Reply, error) {
	var body struct {
		GroupIDs []string `json:"groupIds"`
	}
	if err := c.JSON(&body); err != nil {
		return arm.Reply{}, err
	}
	if len(body.GroupIDs) > maxChecked {
		return arm.Reply{}, arm.Faultf(http.StatusBadRequest, "Request_BadRequest", "groupIds: at most %d groups can be asked for at once.", maxChecked)
	}
	of, err := s.groupsOf(c)
	if err != nil {
		return arm.Reply{}, err
	}
	var in []string
	for _, id := range body.GroupIDs {
		if id = strings.ToLower(id); slices.Contains(of, id) {
			in = append(in, id)
		}
	}
	return idsAnswer(in), nil
}

func idsAnswer(ids []string) arm.Reply {
	return arm.OK(map[string]any{"@odata.context": "$metadata#Collection(Edm.String)", "value": append([]string{}, ids...)})
}

// graphRevoke ends all tokens of a principal.
func (s *Service) graphRevoke(c *arm.Call) (arm.Reply, error) {
	p, err := s.cfg.Directory.Get(c.Context(), strings.ToLower(c.Params["principal"]))
	if err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	if _, err := s.cfg.Directory.ExpireTokens(c.Context(), p.ObjectID); err != nil {
		return arm.Reply{}, graphProblem(err)
	}
	return arm.OK(map[string]any{"@odata.context": "$metadata#Edm.Boolean", "value": true}), nil
}
